"""The whole daemon against the bare invoke loop: flat out, live, idle, and how long it takes to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from edgeapp.status import Status
from edgeapp.workshop.demo_assets import DemoAssets
from edgeapp.workshop.progress import Progress
from tests.fakes.bench.least import LeastRun, run_least, start_least
from tests.fakes.bench.processes import cpu_s, pss_mb
from tests.fakes.bench.raw_avi import write_raw_avi
from tests.fakes.bench.ways import SIZES, Sample, Way, between, measure, video_frames
from tests.fakes.broker import Broker
from tests.fakes.device import Device

OVERLOAD_FPS, LIVE_FPS, LIVE_SHARE = 120, 30, 0.5
MAX_FPS = 240.0  # the most that the configuration takes
GROWTH_WARM_UP = 1000
"""Frames after which nothing more is made for the first time."""


def raw_video(path: Path, video: Path, fps: int) -> Path:
    """The video's frames at 640 x 480 as a camera sends them without compression.

    It is long enough that beginning it anew, which a camera never does, costs nothing that can be seen.
    """
    write_raw_avi(path, video_frames(video, SIZES[0], 180), fps)
    return path


def jpeg_video(path: Path, video: Path, fps: int) -> Path:
    """The same as a USB camera sends them."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, SIZES[0])
    for picture in video_frames(video, SIZES[0], 240) * 3:
        writer.write(picture)
    writer.release()
    return path


@dataclass(frozen=True, slots=True)
class DaemonRun:
    """What the whole daemon did in a stretch of time. `cpu_ms` is of both processes, for each result."""

    fps: float
    cpu_ms: float
    latency_p50_ms: float
    latency_p99_ms: float
    cpu_pct: float
    pss_mb: float


def device(folder: Path, assets: DemoAssets, port: int, camera: dict[str, Any], fps: float) -> Device:
    """A device with the demo's model, not started yet."""
    inference = {"model_dir": str(assets.int8_model_dir), "max_fps": fps, "threads": 1}
    thermal = {"blind_start_duty_pct": 100}  # a workstation tells no temperature; this is no test of caution
    return Device(folder, port=port, tells_every_s=1.0, camera=camera, inference=inference, thermal=thermal)


def run_daemon(running: Device, seconds: float) -> DaemonRun:
    """Let a started daemon settle, and watch it."""
    running.wait(lambda now: now.frames_inferred > 20 and now.broker.is_connected, "a working daemon", 60)
    time.sleep(2.0)
    before, cpu_before = fresh(running), cpu_s(_processes(running))
    time.sleep(seconds)
    after, cpu_after = fresh(running), cpu_s(_processes(running))
    frames = after.frames_inferred - before.frames_inferred
    passed_s = after.written_s - before.written_s
    assert after.latency_p50_ms is not None
    assert after.latency_p99_ms is not None
    return DaemonRun(
        fps=frames / passed_s,
        cpu_ms=(cpu_after - cpu_before) * 1000 / max(1, frames),
        latency_p50_ms=after.latency_p50_ms,
        latency_p99_ms=after.latency_p99_ms,
        cpu_pct=100 * (cpu_after - cpu_before) / passed_s,
        pss_mb=pss_mb(_processes(running)),
    )


def _processes(running: Device) -> list[int]:
    return [running.pid, *running.visions()]


def fresh(running: Device) -> Status:
    """A status that was written just now."""
    began = time.time()
    return running.wait(lambda now: now.written_s > began, "a fresh status")


@dataclass(frozen=True, slots=True)
class Scene:
    """What the daemon is to do. `floor_fps` is the rate at which the least program infers, 0 for flat out."""

    camera: dict[str, Any]
    fps: float
    floor_fps: float


def bench_daemon(
    assets: DemoAssets, bare: Way, folder: Path, rounds: int, seconds: float, progress: Progress
) -> dict[str, dict[str, float]]:
    """The daemon flat out, live with capacity left, overloaded, and idle, each in turns with the bare loop.

    With `floor_…`: what the least program of two processes takes on the same video.
    """
    fast = {"source": str(raw_video(folder / "fast.avi", assets.video, OVERLOAD_FPS))}
    slow = {"source": str(raw_video(folder / "slow.avi", assets.video, LIVE_FPS))}
    jpegs = {"source": str(jpeg_video(folder / "jpegs.avi", assets.video, LIVE_FPS))}
    live_fps = min(LIVE_FPS, LIVE_SHARE * 1000 / measure(bare, 100).p50_ms)
    scenes = {
        "flat out": Scene({**fast, "replay": "fast"}, MAX_FPS, floor_fps=0),
        "capacity_left": Scene(slow, live_fps, floor_fps=live_fps),
        "overload": Scene(fast, MAX_FPS, floor_fps=OVERLOAD_FPS),
        "idle": Scene(jpegs, 1.0, floor_fps=1.0),
    }
    found: dict[str, list[tuple[DaemonRun, Sample]]] = {name: [] for name in scenes}
    least: dict[str, list[tuple[LeastRun, Sample]]] = {name: [] for name in scenes}
    model = assets.int8_model_dir / "model.tflite"
    plain = measure(bare, 150)
    with Broker(folder / "broker") as broker:
        for index in range(rounds * len(scenes)):
            progress("the whole daemon", index / rounds / len(scenes))
            name, scene = list(scenes.items())[index % len(scenes)]
            with device(folder / f"{name}-{index}", assets, broker.port, scene.camera, scene.fps) as running:
                run = run_daemon(running, seconds)
            before, plain = plain, measure(bare, 150)
            found[name].append((run, between(before, plain)))
            fewest = run_least(model, scene.camera["source"], scene.floor_fps, seconds)
            before, plain = plain, measure(bare, 150)
            least[name].append((fewest, between(before, plain)))
    progress("the whole daemon", 1.0)
    return {name: {**summarise(runs), **_floor(least[name])} for name, runs in found.items()}


def summarise(runs: list[tuple[DaemonRun, Sample]]) -> dict[str, float]:
    def median(value: Callable[[DaemonRun, Sample], float], digits: int = 3) -> float:
        return round(statistics.median(value(run, bare) for run, bare in runs), digits)

    return {
        "throughput_ratio": median(lambda run, bare: run.fps * bare.wall_ms / 1000),
        "cpu_ratio": median(lambda run, bare: run.cpu_ms / bare.cpu_ms),
        "p50_ratio": median(lambda run, bare: run.latency_p50_ms / bare.p50_ms),
        "p99_ratio": median(lambda run, bare: run.latency_p99_ms / bare.p50_ms),
        "fps": median(lambda run, _: run.fps, 2),
        "cpu_pct": median(lambda run, _: run.cpu_pct, 2),
        "pss_mb": median(lambda run, _: run.pss_mb, 1),
    }


def _floor(runs: list[tuple[LeastRun, Sample]]) -> dict[str, float]:
    return {
        "floor_throughput_ratio": round(statistics.median(run.fps * bare.wall_ms / 1000 for run, bare in runs), 3),
        "floor_cpu_ratio": round(statistics.median(run.cpu_ms / bare.cpu_ms for run, bare in runs), 3),
        "floor_cpu_pct": round(statistics.median(run.cpu_pct for run, _ in runs), 2),
    }


def bench_growth(assets: DemoAssets, folder: Path, frames: int, progress: Progress) -> float:
    """How much memory both processes together have gained over so many frames flat out, in MB (PSS)."""
    video = raw_video(folder / "growth.avi", assets.video, OVERLOAD_FPS)
    camera = {"source": str(video), "replay": "fast"}
    with (
        Broker(folder / "growth-broker") as broker,
        device(folder / "growth", assets, broker.port, camera, MAX_FPS) as running,
    ):
        began = running.wait(lambda now: now.frames_inferred > GROWTH_WARM_UP, "a warm daemon", 120).frames_inferred
        before_mb = pss_mb(_processes(running))
        for done in range(frames // 20, frames + 1, frames // 20):
            running.wait(lambda now, done=done: now.frames_inferred - began >= done, "more frames", 600)  # type: ignore[misc]
            progress("memory", done / frames)
        return round(pss_mb(_processes(running)) - before_mb, 2)


_DIRECT_LOOP = """
import sys, time
import cv2, numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
detail = interpreter.get_input_details()[0]
picture = cv2.VideoCapture(sys.argv[2]).read()[1]
small = cv2.cvtColor(cv2.resize(picture, (300, 300)), cv2.COLOR_BGR2RGB)
interpreter.set_tensor(detail["index"], (small ^ 128).view(np.int8)[None])
interpreter.invoke()
"""


def bench_start(assets: DemoAssets, folder: Path, rounds: int, progress: Progress) -> tuple[float, float]:
    """From exec to the first inference: the daemon and the least program over a direct loop, in turns."""
    ratios, floors = [], []
    model = assets.int8_model_dir / "model.tflite"
    with Broker(folder / "start-broker") as broker:
        for index in range(rounds):
            progress("start", index / rounds)
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", _DIRECT_LOOP, str(model), str(assets.video)], check=True, capture_output=True
            )
            direct_s = time.perf_counter() - began
            prepared = device(folder / f"start-{index}", assets, broker.port, {"source": str(assets.video)}, 10.0)
            began = time.perf_counter()
            with prepared as running:
                while " runs after " not in running.log:
                    time.sleep(0.005)
                ratios.append((time.perf_counter() - began) / direct_s)
            floors.append(start_least(model, str(assets.video)) / direct_s)
    progress("start", 1.0)
    return round(statistics.median(ratios), 2), round(statistics.median(floors), 2)
