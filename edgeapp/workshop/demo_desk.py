"""A desk to try updates at: what an operator and one device need, in one folder, with a broker that runs until Ctrl-C.

Owns the folder's first content. The commands that are typed there are the README's; keys, releases and what comes of
them are left to those.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import yaml
from rich.console import Console

from edgeapp.errors import ReleaseError
from edgeapp.manifest import Manifest
from edgeapp.vision.model_folder import read_manifest
from edgeapp.workshop.demo_assets import DemoAssets
from edgeapp.workshop.demo_broker import EmbeddedBroker
from edgeapp.workshop.model_folder_writer import write_manifest

_DEVICE = "front-door"
_PICTURES = 12
_EAGER_SCORE, _EAGER_IOU = 0.1, 0.95  # nearly every box that the network thinks of
_PROBATION = {"duration_s": 8.0, "min_frames": 10, "max_p95_ratio": 20.0}
_README = f"""\
factory/ factory-float/  the model that the device begins with, and its float twin
eager/ eager-float/      the same with other defaults: it sees people everywhere
pictures/ facts.json     what a release is made with
device.yaml              the device {_DEVICE}; state/ and run/ are its own, www/ is where it fetches releases
operator.yaml            where the operator's broker is
"""


def lay_out(folder: Path, assets: DemoAssets, port: int) -> None:
    """Write everything into `folder`, which must not be there yet.

    Raises:
        ReleaseError: something is there.
    """
    if folder.exists():
        raise ReleaseError(f"{folder}: expected nothing there, found something")
    folder.mkdir(parents=True)
    for name, source in (("", assets.int8_model_dir), ("-float", assets.float_model_dir)):
        shutil.copytree(source, folder / f"factory{name}")
        shutil.copytree(source, folder / f"eager{name}")
        write_manifest(folder / f"eager{name}", _eager(read_manifest(source)))
    _cut_pictures(assets.video, folder / "pictures")
    f1 = round(assets.agreement.f1, 3)
    accuracy = {"metric": "F1", "data_set": assets.video.name, "float_model": 1.0, "quantized": f1, "floor": 0.8}
    (folder / "facts.json").write_text(json.dumps({"accuracy": accuracy, "probation": _PROBATION}, indent=1))
    _write_yaml(folder / "device.yaml", _device(folder.resolve(), assets, port))
    _write_yaml(folder / "operator.yaml", {"mqtt": {"host": "127.0.0.1", "port": port}})
    (folder / "activate").write_text(f"export PATH={Path(sys.executable).parent}:$PATH\n")
    (folder / "README").write_text(_README)


def run_desk(folder: Path, assets: DemoAssets, console: Console) -> int:
    """Lay the desk out and run its broker until SIGINT or SIGTERM."""
    is_over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: is_over.set())
    scratch = folder.with_name(f".{folder.name}-broker")
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with EmbeddedBroker(scratch) as broker:
            lay_out(folder, assets, broker.port)
            console.print(f"[bold]{folder}[/] is laid out; {broker.name} runs on 127.0.0.1:{broker.port} until Ctrl-C.")
            console.print(f"In another terminal:  cd {os.path.relpath(folder)} && . ./activate", soft_wrap=True)
            console.print("Then the ten commands of the README.")
            is_over.wait()
    finally:
        shutil.rmtree(scratch)
    return 0


def _eager(manifest: Manifest) -> Manifest:
    defaults = dataclasses.replace(manifest.defaults, min_score=_EAGER_SCORE, nms_iou=_EAGER_IOU)
    return dataclasses.replace(manifest, defaults=defaults, expected_confidence=None)


def _cut_pictures(video: Path, folder: Path) -> None:
    """Frames from all over the video."""
    folder.mkdir()
    capture = cv2.VideoCapture(str(video))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    for number in range(_PICTURES):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number * count // _PICTURES)
        is_read, picture = capture.read()
        if is_read:
            cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    capture.release()


def _device(folder: Path, assets: DemoAssets, port: int) -> dict[str, Any]:
    """A device's configuration, as far as it differs from the defaults."""
    return {
        "device": {"id": _DEVICE},
        "paths": {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")},
        "camera": {"kind": "video", "source": str(assets.video)},
        "inference": {"model_dir": str(folder / "factory"), "max_fps": 10.0},
        "mqtt": {"host": "127.0.0.1", "port": port},
        "updates": {
            "enabled": True,
            "root_file": str(folder / "repository" / "metadata" / "1.root.json"),
            "folder": str(folder / "www"),
            "blocks": False,
            "jitter_s": 0.0,
        },
    }


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
