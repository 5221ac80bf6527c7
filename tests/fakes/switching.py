"""The real vision process, driven as control does it through two models at once, every prediction of it checked.

One of the two models sees the white square of the video in each frame, the other never does, and their inputs differ
in size: so that each prediction tells by what it holds which model made it. The tests switch a few times,
scripts/bench some hundred times, scripts/switch-drill a thousand.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from edgeapp.config import (
    CameraConfig,
    Config,
    DeviceConfig,
    InferenceConfig,
    MotionConfig,
    MqttConfig,
    PathsConfig,
)
from edgeapp.system.processes import rss_mb
from edgeapp.types import Prediction
from edgeapp.vision import protocol
from edgeapp.vision.client import VisionClient
from tests.fakes.device import FPS, descriptors, threads, write_video
from tests.fakes.tiny_models import make_model_folder

T = TypeVar("T")
_WAIT_S = 60.0
_SEEING_PX, _BLIND_PX = 160, 224  # a ms or more an inference, so that control keeps up with a fast replay
_RSS_ROUNDS = 20
_LOOKS, _FRAMES_PER_LOOK = 5, 10
PERIOD_NS = round(1e9 / FPS)  # of the video
_SWITCHES_PER_ROUND = 1.2  # each fifth round goes back
PACED_SHARE = 10
Track = Callable[[range, str], Iterable[int]]
"""Passes the rounds on and shows how far they are."""


class Switcher:
    """Vision on a video, a model of either kind, and the account of what it predicted."""

    def __init__(
        self,
        folder: Path,
        *,
        is_fast: bool,
        has_gate: bool = False,
        max_fps: float = 240.0,
        blind_px: int = _BLIND_PX,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.models = {
            "seeing": make_model_folder(folder / "seeing", size_px=_SEEING_PX, name="seeing"),
            "blind": make_model_folder(folder / "blind", size_px=blind_px, name="blind", classes=("red", "green")),
        }
        video = write_video(folder / "video.avi", seconds=20.0)
        (folder / "run").mkdir(exist_ok=True)
        self.config = Config(
            device=DeviceConfig(id="test-device"),
            camera=CameraConfig(kind="video", source=str(video), replay="fast" if is_fast else "realtime"),
            inference=InferenceConfig(model_dir=str(self.models["seeing"]), max_fps=max_fps),
            mqtt=MqttConfig(host="127.0.0.1"),
            paths=PathsConfig(state_dir=str(folder), runtime_dir=str(folder / "run")),
            motion=MotionConfig(enabled=has_gate, key_frame_s=60.0),
        )
        self.client = VisionClient(self.config)
        self.running = "seeing"
        self.model_number = 0
        self.predictions = self.lost = self.misattributed = 0
        self.worst_gap_ns = 0
        self._last: Prediction | None = None
        self._kinds: dict[int, str] = {}

    def __enter__(self) -> Switcher:
        self.client.start(self.config, self.config.inference)
        ready = self.wait(protocol.Ready)
        self.model_number = ready.model_number
        self._kinds[ready.model_number] = "seeing"
        self.watch(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.end(kindly=True)

    @property
    def pid(self) -> int:
        assert self.client.pid is not None
        return self.client.pid

    def wait(self, kind: type[T]) -> T:
        """The next message of this kind. Predictions before it are accounted for; an unwanted refusal is an error.

        Raises:
            AssertionError: none came, or a CandidateFailed came instead.
        """
        deadline_s = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline_s:
            message = self.client.receive(0.5)
            if isinstance(message, Prediction):
                self._account(message)
            elif isinstance(message, protocol.Switched):
                self._note_switch(message)
            if isinstance(message, kind):
                return message
            assert not isinstance(message, protocol.CandidateFailed), f"waited for {kind.__name__}, found {message}"
        raise AssertionError(f"waited {_WAIT_S:g} s for {kind.__name__}")

    def watch(self, count: int) -> list[Prediction]:
        """The next so many predictions."""
        return [self.wait(Prediction) for _ in range(count)]

    def restart_gaps(self) -> None:
        """Measure the gaps between predictions anew."""
        self.worst_gap_ns = 0

    def load(self, kind: str) -> protocol.CandidateReady:
        self.client.order(protocol.LoadCandidate(model_dir=str(self.models[kind])))
        ready = self.wait(protocol.CandidateReady)
        self._kinds[ready.model_number] = kind
        return ready

    def switch(self, model_number: int) -> protocol.Switched:
        self.client.order(protocol.SwitchTo(model_number=model_number))
        return self.wait(protocol.Switched)

    def exchange(self, index: int) -> int:
        """One round: the other model is loaded and switched to; then kept, or in each fifth round gone back from.

        The number of switches.
        """
        other = "blind" if self.running == "seeing" else "seeing"
        self.switch(self.load(other).model_number)
        self.watch(2)
        if index % 5 != 4:
            self.client.order(protocol.Keep())
            self.wait(protocol.Dropped)
            return 1
        self.client.order(protocol.Back())
        self.wait(protocol.Switched)
        self.watch(2)
        self.client.order(protocol.DropCandidate())
        self.wait(protocol.Dropped)
        return 2

    def footprint(self) -> tuple[int, int]:
        """Threads and descriptors that vision holds for good: the least of some looks.

        The thread that frees a model is there for a moment.
        """
        looks = []
        for _ in range(_LOOKS):
            self.watch(_FRAMES_PER_LOOK)
            looks.append((threads(self.pid), descriptors(self.pid)))
        return min(count for count, _ in looks), min(count for _, count in looks)

    def lowest_rss_mb(self) -> float:
        """Resident memory of vision with the seeing model running, the least in some rounds.

        What the C library gives back after a model was freed swings by about 12 MiB from round to round.
        """
        found = []
        for index in range(_RSS_ROUNDS):
            self.exchange(index)
            self.watch(3)
            if self.running == "seeing":
                found.append(rss_mb(self.pid) or 0.0)
        return min(found)

    def _account(self, prediction: Prediction) -> None:
        last, self._last = self._last, prediction
        self.predictions += 1
        has_seen = bool(prediction.detections)
        self.misattributed += prediction.model_number != self.model_number
        self.misattributed += has_seen != (self._kinds[prediction.model_number] == "seeing")
        if last is not None:
            self.lost += prediction.frame_id - last.frame_id - 1
            self.worst_gap_ns = max(self.worst_gap_ns, prediction.predicted_ns - last.predicted_ns)

    def _note_switch(self, switched: protocol.Switched) -> None:
        """The account of what is to come. The predictions of before must all be of earlier frames."""
        self.misattributed += self._last is not None and self._last.frame_id >= switched.frame_id
        self.model_number = switched.model_number
        self.running = self._kinds[switched.model_number]


def drill_switches(folder: Path, switches: int, track: Track) -> dict[str, Any]:
    """Fast: every frame of the video, as fast as they can be predicted."""
    with Switcher(folder, is_fast=True) as switcher:
        before_mb, before = switcher.lowest_rss_mb(), switcher.footprint()
        done = sum(switcher.exchange(index) for index in track(_rounds(switches), "switches"))
        after_mb, after = switcher.lowest_rss_mb(), switcher.footprint()
        return {
            "switches": done,
            "frames": switcher.predictions,
            "lost": switcher.lost,
            "misattributed": switcher.misattributed,
            "rss_growth_mb": round(after_mb - before_mb, 2),
            "threads": [before[0], after[0]],
            "descriptors": [before[1], after[1]],
        }


def drill_gaps(folder: Path, switches: int, track: Track) -> dict[str, Any]:
    """Paced: at the video's own rate, which leaves the processor time to load beside."""
    with Switcher(folder, is_fast=False) as switcher:
        switcher.watch(25)
        switcher.restart_gaps()
        frames_before = switcher.predictions
        for index in track(_rounds(switches), "paced switches"):
            switcher.exchange(index)
        worst_ns, frames = switcher.worst_gap_ns, switcher.predictions - frames_before
        switcher.restart_gaps()
        for _ in track(range(frames), "as many frames without a switch"):
            switcher.watch(1)
        return {
            "worst_gap_periods": round(worst_ns / PERIOD_NS, 2),
            "quiet_gap_periods": round(switcher.worst_gap_ns / PERIOD_NS, 2),
        }


def _rounds(switches: int) -> range:
    return range(math.ceil(switches / _SWITCHES_PER_ROUND))
