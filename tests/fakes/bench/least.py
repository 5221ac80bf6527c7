"""The least program of two processes that does a daemon's work on a video: the floor of scripts/bench's live figures.

One process takes pictures in a thread, infers them in another and sends a datagram for each; a second process receives
it. Nothing is checked, decoded, tracked, counted or reported. What this costs over the bare invoke on the machine at
hand (copies of the picture, waking threads and processes, caches gone cold in between) any such program pays.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.bench.processes import cpu_s

_DATAGRAM = bytes(120)
_SWITCH_INTERVAL_S = 0.0005  # vision's own
_SETTLE_S, _LOOK_S = 2.0, 0.002
_RAW_PACKETS = -1


@dataclass(frozen=True, slots=True)
class LeastRun:
    """What the least program did in a stretch of time. `cpu_ms` is of both processes, for each frame."""

    fps: float
    cpu_ms: float

    @property
    def cpu_pct(self) -> float:
        return self.cpu_ms * self.fps / 10


def start_least(model: Path, video: str) -> float:
    """From exec to the first inference, in s."""
    began = time.perf_counter()
    with _started(model, video, fps=10.0):
        return time.perf_counter() - began


def run_least(model: Path, video: str, fps: float, seconds: float) -> LeastRun:
    """Let it work on `video`, which keeps its own pace: infer `fps` frames of a second, or flat out for 0."""
    with _started(model, video, fps) as (pids, ear):
        time.sleep(_SETTLE_S)
        frames_before, cpu_before, began = _frames(ear), cpu_s(pids), time.monotonic()
        time.sleep(seconds)
        frames, cpu, passed_s = _frames(ear) - frames_before, cpu_s(pids) - cpu_before, time.monotonic() - began
    return LeastRun(fps=frames / passed_s, cpu_ms=cpu * 1000 / frames)


@contextmanager
def _started(model: Path, video: str, fps: float) -> Iterator[tuple[list[int], subprocess.Popen[str]]]:
    """The process ids of both, and the one that receives."""
    eye_end, ear_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", __name__]
    with eye_end, ear_end:
        ear = subprocess.Popen(
            [*command, "ear", str(ear_end.fileno())],
            pass_fds=[ear_end.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        eye = subprocess.Popen(
            [*command, "eye", str(eye_end.fileno()), str(model), video, str(fps)],
            pass_fds=[eye_end.fileno()], stderr=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        _frames(ear, at_least=1)
        yield [eye.pid, ear.pid], ear
    finally:
        for process in (eye, ear):
            process.kill()
            process.wait()


def _frames(ear: subprocess.Popen[str], at_least: int = 0) -> int:
    """How many datagrams it has received."""
    assert ear.stdin is not None
    assert ear.stdout is not None
    while True:
        ear.stdin.write("\n")
        ear.stdin.flush()
        if (count := int(ear.stdout.readline())) >= at_least:
            return count
        time.sleep(_LOOK_S)


def _hear(connection: socket.socket) -> None:
    """Count datagrams; say how many for each line on stdin."""
    count = 0

    def answer() -> None:
        for _ in sys.stdin:
            print(count, flush=True)

    threading.Thread(target=answer, daemon=True).start()
    while connection.recv(1024):
        count += 1


class _Handover:
    """The newest picture; flat out, each in its turn."""

    def __init__(self, *, is_in_turn: bool) -> None:
        self._changed = threading.Condition()
        self._is_in_turn = is_in_turn
        self._picture: Any = None

    def put(self, picture: Any) -> None:
        with self._changed:
            while self._is_in_turn and self._picture is not None:
                self._changed.wait()
            self._picture = picture
            self._changed.notify()

    def take(self) -> Any:
        with self._changed:
            while self._picture is None:
                self._changed.wait()
            picture, self._picture = self._picture, None
            self._changed.notify()
            return picture


# OpenCV and the runtime come in only below: the process that receives needs neither.


def _capture(video: str, fps: float, handover: _Handover) -> None:
    """As from a camera: every frame is taken from it, only those that are wanted are decoded, a JPEG at half size."""
    import cv2
    import numpy as np

    source, due_s = _open(video), time.monotonic()
    period_s, wanted_s = 1 / source.get(cv2.CAP_PROP_FPS), due_s
    is_jpeg = source.get(cv2.CAP_PROP_FORMAT) == _RAW_PACKETS
    buffers: list[Any] = [None, None, None]
    index = 0
    while True:
        if not source.grab():
            source = _open(video)
            continue
        if fps:
            due_s += period_s
            time.sleep(max(0.0, due_s - time.monotonic()))
            if due_s < wanted_s:
                continue
            wanted_s += 1 / fps
        _, buffers[index] = source.retrieve(buffers[index])
        picture = cv2.imdecode(buffers[index].view(np.uint8), cv2.IMREAD_REDUCED_COLOR_2) if is_jpeg else buffers[index]
        handover.put(picture)
        index = (index + 1) % len(buffers)


def _open(video: str) -> Any:
    import cv2

    source = cv2.VideoCapture(video, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if int(source.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG"):
        source.set(cv2.CAP_PROP_FORMAT, _RAW_PACKETS)
    return source


def _see(connection: socket.socket, model: str, video: str, fps: float) -> None:
    import cv2
    from ai_edge_litert.interpreter import Interpreter

    from tests.fakes.bench.native_calls import native_calls

    cv2.setNumThreads(1)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    infer = native_calls(interpreter)
    handover = _Handover(is_in_turn=not fps)
    threading.Thread(target=_capture, args=(video, fps, handover), daemon=True).start()
    while True:
        infer(handover.take())
        connection.send(_DATAGRAM)


if __name__ == "__main__":
    end = socket.socket(fileno=int(sys.argv[2]))
    if sys.argv[1] == "ear":
        _hear(end)
    else:
        _see(end, sys.argv[3], sys.argv[4], float(sys.argv[5]))
