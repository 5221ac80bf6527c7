"""The demo: the daemon that a device runs, on a real model and a real video, with a broker of its own.

Owns the stage only: it prepares the model and the video (demo_assets.py), writes a configuration, starts a broker and
`edgeapp run`, listens as any subscriber would, and draws a picture. What the daemon does is the daemon's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.status import STATUS_NAME, Status, lines
from edgeapp.workshop import demo_assets
from edgeapp.workshop.demo_broker import EmbeddedBroker, Listener
from edgeapp.workshop.demo_desk import run_desk
from edgeapp.workshop.demo_picture import draw_contact_sheet

_WINDOW_S = 5
_FIRST_INFERENCE_S = 60.0
_MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]WARN[/]", "fail": "[bold red]FAIL[/]"}


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the daemon showed."""

    status: Status
    first_inference_s: float
    exit_status: int


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=20.0, metavar="N", help="how long the daemon runs (default 20)"
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument(
        "--desk", type=Path, metavar="DIR", help="instead: lay out a folder to try updates in, with a broker"
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="where the picture goes")
    chosen = parser.parse_args(arguments)
    if not chosen.seconds >= _WINDOW_S:
        parser.error(f"--seconds: expected at least {_WINDOW_S} (one report), found {chosen.seconds:g}")
    console = Console(stderr=chosen.json, highlight=False)
    try:
        return _demo(chosen, console)
    except EdgeAppError as error:
        console.print(f"[bold red]{error.code}[/]: {error}", soft_wrap=True)
        return 1


def _demo(chosen: argparse.Namespace, console: Console) -> int:
    assets = _prepare(console)
    if chosen.desk is not None:
        return run_desk(chosen.desk, assets, console)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgeapp-demo-") as scratch:
        folder = Path(scratch)
        with EmbeddedBroker(folder) as broker, Listener(broker.port, console) as listener:
            console.print(f"broker: {broker.name} on 127.0.0.1:{broker.port}")
            config = _write_config(folder, assets, broker.port)
            run = _run_daemon(config, folder, chosen.seconds, console)
            listener.wait_for_quiet()
            received = listener.telemetry
    picture = chosen.out / "contact-sheet.png"
    draw_contact_sheet(assets.int8_model_dir, assets.video, picture)
    _show(run, received, picture, console)
    if chosen.json:
        print(json.dumps(_summary(run, received, picture)))
    return 0 if run.exit_status == 0 and received else 1


def _prepare(console: Console) -> demo_assets.DemoAssets:
    columns = (
        TextColumn("{task.description:<34}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing the model", total=1.0)
        assets = demo_assets.prepare(
            demo_assets.default_cache(), lambda step, share: progress.update(task, description=step, completed=share)
        )
        progress.update(task, description="model and video are ready", completed=1.0)
    share = assets.int8_bytes / assets.float_bytes
    console.print(
        f"model: float32 {assets.float_bytes / 1e6:.1f} MB → int8 per channel {assets.int8_bytes / 1e6:.1f} MB "
        f"({share:.0%}){', from the cache' if assets.was_cached else ''}"
    )
    console.print(f"agreement with the float model: {assets.agreement}", soft_wrap=True)
    return assets


def _write_config(folder: Path, assets: demo_assets.DemoAssets, port: int) -> Path:
    """A device's configuration, as far as it differs from the defaults."""
    config = {
        "device": {"id": "demo-device", "tenant": "demo"},
        "paths": {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")},
        "camera": {"kind": "video", "source": str(assets.video)},
        "inference": {"model_dir": str(assets.int8_model_dir), "max_fps": 10.0},
        "counting": {"lines": [{"name": "kerb", "start": [0.0, 0.7], "end": [1.0, 0.7]}]},
        "telemetry": {"window_s": _WINDOW_S},
        "mqtt": {"host": "127.0.0.1", "port": port},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _run_daemon(config: Path, folder: Path, seconds: float, console: Console) -> Run:
    """Start `edgeapp run`, watch its status for a while after the first inference, stop it as systemd would."""
    began = time.monotonic()
    log_path = folder / "daemon.log"
    with log_path.open("wb") as log:
        daemon = subprocess.Popen([sys.executable, "-m", "edgeapp.cli", "run", "--config", str(config)], stderr=log)
    try:
        first_s = _wait_for_first_inference(daemon, began, log_path)
        console.print(f"first inference {first_s:.1f} s after the start of the daemon")
        _watch(daemon, folder, seconds, console)
        status = _read_status(folder)
        if status is None:
            raise EdgeAppError(f"the daemon left no status:\n{log_path.read_text(errors='replace')}")
        daemon.send_signal(signal.SIGTERM)
        exit_status = daemon.wait(timeout=10)
    finally:
        daemon.kill()
        daemon.wait()
    return Run(status, first_s, exit_status)


def _wait_for_first_inference(daemon: subprocess.Popen[bytes], began: float, log_path: Path) -> float:
    """The seconds until the daemon said that its model runs: it has been warmed up then."""
    while time.monotonic() - began < _FIRST_INFERENCE_S and daemon.poll() is None:
        if b" runs after " in log_path.read_bytes():
            return time.monotonic() - began
        time.sleep(0.01)
    raise EdgeAppError(f"no inference within {_FIRST_INFERENCE_S:.0f} s:\n{log_path.read_text(errors='replace')}")


def _watch(daemon: subprocess.Popen[bytes], folder: Path, seconds: float, console: Console) -> None:
    columns = (TextColumn("{task.description:<34}"), BarColumn(), TimeRemainingColumn())
    began = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("the daemon runs", total=seconds)
        while (passed_s := time.monotonic() - began) < seconds and daemon.poll() is None:
            status = _read_status(folder)
            if status is not None and status.p50_ms is not None:
                text = f"{status.fps:4.1f} fps, {status.p50_ms:.0f} ms, {status.frames_inferred} frames"
                progress.update(task, description=text)
            progress.update(task, completed=passed_s)
            time.sleep(0.25)
        progress.update(task, completed=seconds)


def _read_status(folder: Path) -> Status | None:
    path = folder / "run" / STATUS_NAME
    try:
        return read_json(Status, path.read_bytes(), str(path))
    except FileNotFoundError:
        return None


def _show(run: Run, received: list[dict[str, Any]], picture: Path, console: Console) -> None:
    console.print("\n[bold]edgeapp status[/], just before the stop:")
    for line in lines(run.status, run.status.written_s, is_running=True):
        console.print(f"{_MARKS[line.level]}  {line.label:<11}{line.text}", soft_wrap=True)
    if received:
        console.print(f"\n[bold]the broker received {len(received)} reports[/]; the last one:")
        console.print_json(json.dumps(received[-1]))
    console.print(
        f"\npicture: {os.path.relpath(picture)} (the same model and frame path; the daemon itself never writes one)"
    )
    if shutil.which("mosquitto") is None:
        console.print("The broker was amqtt; with Debian's mosquitto installed the demo uses that.")


def _summary(run: Run, received: list[dict[str, Any]], picture: Path) -> dict[str, Any]:
    status = run.status
    model, camera = status.model, status.camera
    if model is None or camera is None:
        raise EdgeAppError("the daemon stopped without a model or a camera")
    return {
        "model": f"{model.name} {model.version} {model.quantization}",
        "runtime": model.runtime,
        "delegate": {"name": model.delegate.name, "nodes": model.delegate.nodes, "delegated": model.delegate.delegated},
        "frames_captured": camera.frames_captured,
        "frames_inferred": status.frames_inferred,
        "frames_dropped": camera.frames_dropped,
        "fps": round(status.fps, 2),
        "p50_ms": status.p50_ms,
        "p99_ms": status.p99_ms,
        "first_inference_s": round(run.first_inference_s, 2),
        "messages_received": len(received),
        "picture": str(picture),
    }


if __name__ == "__main__":
    sys.exit(main())
