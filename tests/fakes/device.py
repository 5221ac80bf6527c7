"""A whole device on this machine: the real daemon on a small real model and a real video, driven from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import yaml

from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.status import STATUS_NAME, Status
from tests.fakes.tiny_models import make_model_folder

FPS = 25
_WIDTH, _HEIGHT = 320, 240
_WAIT_S = 60.0  # of patience, not of time that it takes: the machine may be busy with other work
_TELLS_EVERY_S = 0.2  # so that nobody waits long for what is so already
_SILENCE_S = 10.0  # a busy machine may hold vision back for longer than a board ever should
_MARK = "EDGEAPP_TEST_DEVICE"  # in the environment of a device's processes, to tell them from others


def write_video(path: Path, *, seconds: float = 4.0, fps: int = FPS, rows: tuple[int, ...] = (90,)) -> Path:
    """A white square in each of these rows that walks from left to right over a dark ground, as MJPEG in an AVI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (_WIDTH, _HEIGHT))
    frames = round(seconds * fps)
    for index in range(frames):
        picture = np.full((_HEIGHT, _WIDTH, 3), 20, np.uint8)
        left = round(index / frames * (_WIDTH - 80))
        for top in rows:
            picture[top : top + 60, left : left + 80] = 255
        writer.write(picture)
    writer.release()
    return path


class Device:
    """One device folder and, while it runs, its daemon."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        program: str = "edgeapp.cli",
        tells_every_s: float = _TELLS_EVERY_S,
        **sections: dict[str, Any],
    ) -> None:
        """`program` is the module to run; `sections` are merged into the configuration, key by key. The daemon writes
        its status every `tells_every_s`, at most 1: as often as it would have to feed systemd's watchdog.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._program, self._tells_every_s = program, tells_every_s
        self.folder = folder
        self.config_path = folder / "config.yaml"
        self.log_path = folder / "daemon.log"
        self.runtime_dir = folder / "run"
        self._process: subprocess.Popen[bytes] | None = None
        self.config: dict[str, dict[str, Any]] = {
            "device": {"id": "test-device"},
            "paths": {"state_dir": str(folder / "state"), "runtime_dir": str(self.runtime_dir)},
            "camera": {"kind": "video", "source": str(folder / "video.avi")},
            "inference": {"model_dir": str(folder / "model"), "max_fps": 20.0},
            "telemetry": {"window_s": 5},
            "mqtt": {"host": "127.0.0.1", "port": port, "reconnect_max_s": 1.0},
            "vision": {"silence_s": _SILENCE_S},
        }
        for name, section in sections.items():
            self.config.setdefault(name, {}).update(section)
        if not (folder / "model").exists():
            make_model_folder(folder / "model")
        if not (folder / "video.avi").exists():
            write_video(folder / "video.avi")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def write_config(self) -> None:
        self.config_path.write_text(yaml.safe_dump(self.config))

    def start(self, **environment: str) -> None:
        self.write_config()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._program, "run", "--config", str(self.config_path)],
                stderr=log,
                env={
                    **os.environ,
                    _MARK: str(self.folder),
                    "WATCHDOG_USEC": str(round(2e6 * self._tells_every_s)),
                    **environment,
                },
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self, timeout_s: float = _WAIT_S) -> tuple[int, float]:
        """SIGTERM; the exit status and how long it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.terminate()
        status = self._process.wait(timeout_s)
        return status, time.monotonic() - began

    def wait_exit(self, timeout_s: float = _WAIT_S) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def status(self) -> Status | None:
        path = self.runtime_dir / STATUS_NAME
        try:
            return read_json(Status, path.read_bytes(), str(path))
        except (FileNotFoundError, EdgeAppError):
            return None

    def wait(self, is_so: Callable[[Status], bool], what: str, timeout_s: float = _WAIT_S) -> Status:
        """Wait until the daemon's own status satisfies `is_so`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            status = self.status()
            if status is not None and status.pid == self.pid and is_so(status):
                return status
            time.sleep(0.05)
        raise AssertionError(f"waited {timeout_s:g} s for {what}; status: {self.status()}\n{self.log[-4000:]}")

    def wait_inferring(self, timeout_s: float = _WAIT_S) -> Status:
        """Wait until frames are inferred, from now on."""
        before = self.status()
        count = before.frames_inferred if before is not None and before.pid == self.pid else 0
        return self.wait(lambda status: status.frames_inferred > count, "inference", timeout_s)

    def pace_fps(self, seconds: float = 1.5) -> float:
        """How many frames a second are inferred from now on, for so long; vision tells every half a second."""
        before = self.wait_inferring()
        after = self.wait(
            lambda now: now.frames_inferred > before.frames_inferred and now.written_s >= before.written_s + seconds,
            "some inferences",
        )
        return (after.frames_inferred - before.frames_inferred) / (after.written_s - before.written_s)

    def visions(self) -> set[int]:
        """Every vision process that a daemon of this device has started, also one that outlived it."""
        mark = f"{_MARK}={self.folder}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    name = (entry / "comm").read_text().strip()
                    environment = (entry / "environ").read_bytes().split(b"\0")
                except OSError:
                    continue
                if name == "edgeapp-vision" and mark in environment:
                    found.add(int(entry.name))
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One of the device's commands."""
        return subprocess.run(
            [sys.executable, "-m", "edgeapp.cli", *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=2 * _WAIT_S,
        )


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def telemetry(messages: list[Any]) -> list[dict[str, Any]]:
    """The reports among received messages."""
    return [json.loads(one.payload) for one in messages if one.topic.endswith("/telemetry")]
