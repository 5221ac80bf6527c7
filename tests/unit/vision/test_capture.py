from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeapp.config import CameraConfig
from edgeapp.system.backoff import Backoff
from edgeapp.types import CaptureHealth
from edgeapp.vision.capture import Capture, RateMeter
from edgeapp.vision.motion import PictureJudge
from edgeapp.vision.picture import Thumbnail
from edgeapp.vision.slot import Slot
from tests.fakes.camera import FakeCamera

_LIMIT_S = 60.0
_S = 1_000_000_000
_PICTURES = [np.full((48, 64, 3), level, np.uint8) for level in range(10, 250)]


def _until(holds: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + _LIMIT_S
    while not holds():
        assert time.monotonic() < deadline_s, f"waited in vain: {what}"
        time.sleep(0.002)


class _Clock:
    def __init__(self) -> None:
        self.now_ns = 1_000 * _S

    def __call__(self) -> int:
        return self.now_ns

    def advance(self, seconds: float) -> None:
        self.now_ns += round(seconds * _S)


class _Backoff(Backoff):
    """Waits for a moment only, and counts."""

    def __init__(self) -> None:
        super().__init__(0.02, 0.02, lambda: 0.5)
        self.waits = self.resets = 0

    def next_s(self) -> float:
        self.waits += 1
        return super().next_s()

    def reset(self) -> None:
        self.resets += 1


class _Rig:
    """A capture with a slot, and hardly a delay between attempts so that tests do not wait."""

    def __init__(self, camera: FakeCamera | None, **settings: Any) -> None:
        self.camera = camera
        self.clock = _Clock()
        self.backoff = _Backoff()
        self.slot = Slot()
        config = CameraConfig(**{"kind": "v4l2", "source": "/dev/video0", **settings})
        self.capture = Capture(
            config,
            self.slot,
            min_size=(32, 32),
            open_camera=camera.open if camera else None,
            backoff=self.backoff,
            monotonic_ns=self.clock if camera else time.monotonic_ns,
        )

    def start(self) -> None:
        self.capture.start()

    def health(self) -> CaptureHealth:
        return self.capture.health(self.clock() if self.camera else time.monotonic_ns())

    def tick(self, frames: int = 1, period_s: float = 0.05) -> None:
        """Frames come, and the capture thread has dealt with each of them before this returns."""
        assert self.camera is not None
        for _ in range(frames):
            _until(self._is_idle, "a reader")
            self.clock.advance(period_s)
            self.camera.tick()
            _until(self._is_idle, "the reader's return")

    def _is_idle(self) -> bool:
        return self.camera is not None and self.camera.is_idle

    def until_state(self, state: str) -> None:
        _until(lambda: self.health().state == state, f"state {state}, found {self.health()}")


Build = Callable[..., _Rig]


@pytest.fixture
def build() -> Iterator[Build]:
    rigs: list[_Rig] = []

    def make(camera: FakeCamera | None, **settings: Any) -> _Rig:
        rigs.append(_Rig(camera, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        if rig.camera is not None:
            rig.camera.unhang()
            rig.camera.unplug()
        assert rig.capture.stop(_LIMIT_S)


def _started(build: Build, camera: FakeCamera, **settings: Any) -> _Rig:
    rig = build(camera, **settings)
    rig.start()
    _until(lambda: camera.is_idle, "the first grab")
    return rig


def test_a_frame_that_nobody_wants_is_counted_but_never_decoded(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.tick(20)
    assert camera.retrieves == 0
    assert (rig.health().frames_captured, rig.health().frames_dropped) == (20, 20)


def test_the_first_frame_from_the_wanted_time_on_is_handed_over(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.slot.want(rig.clock() + round(0.12 * _S))
    rig.tick(3)
    frame = rig.slot.take(0)
    assert frame is not None
    assert (frame.frame_id, frame.captured_ns) == (3, rig.clock())
    assert (frame.picture == _PICTURES[2]).all()
    assert camera.retrieves == 1
    assert rig.health().frames_dropped == 2


def test_a_frame_replaced_by_a_newer_one_is_dropped(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.slot.want(0)
    rig.tick(5)
    frame = rig.slot.take(0)
    assert frame is not None
    assert frame.frame_id == 5
    assert rig.health().frames_dropped == 4


def test_after_three_frames_no_new_picture_is_allocated(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    addresses = []
    for _ in range(12):
        rig.slot.want(0)
        rig.tick()
        frame = rig.slot.take(0)
        assert frame is not None
        addresses.append(frame.picture.ctypes.data)
    assert len(set(addresses)) <= 3


def test_running_tells_size_format_and_rate(build: Build) -> None:
    rig = _started(build, FakeCamera(_PICTURES))
    assert rig.health().state == "opening"
    rig.slot.want(0)
    rig.tick(60, period_s=0.05)
    health = rig.health()
    assert (health.state, health.width, health.height, health.pixel_format) == ("running", 64, 48, "BGR")
    assert health.source_fps == pytest.approx(20, rel=0.01)
    assert rig.capture.source_period_ns == pytest.approx(0.05 * _S, rel=0.01)


def test_the_first_failed_read_closes_the_source_and_opens_it_anew(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.tick(3)
    camera.unplug()
    rig.until_state("retrying")
    assert camera.closes == 1
    assert "E_CAMERA" in rig.health().error
    assert rig.health().source_fps == 0
    camera.plug()
    _until(lambda: camera.opens == 2, "the second opening")
    camera.tick()
    rig.until_state("running")
    assert rig.health().reopened == 1
    assert rig.health().frames_captured == 4


def test_a_camera_missing_at_the_start_is_waited_for(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    camera.unplug()
    rig = build(camera)
    rig.start()
    rig.until_state("retrying")
    assert "expected to be plugged, found unplugged" in rig.health().error
    camera.plug()
    camera.tick()
    rig.until_state("running")


def test_the_error_is_forgotten_once_frames_have_come_for_a_second(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.tick(2)
    camera.unplug()
    rig.until_state("retrying")
    camera.plug()
    _until(lambda: camera.opens == 2, "the second opening")
    rig.tick(10)
    assert rig.health().error
    rig.tick(15)
    assert rig.health().error == ""


def test_the_backoff_begins_anew_only_after_a_second_of_frames(build: Build) -> None:
    rig = _started(build, FakeCamera(_PICTURES))
    rig.tick(10, period_s=0.1)
    assert rig.backoff.resets == 0, "the first frame came at 0.1 s, this one 0.9 s later"
    rig.tick(1, period_s=0.1)
    assert rig.backoff.resets == 1


def test_attempts_are_a_backoff_apart(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    camera.unplug()
    rig = build(camera)
    rig.start()
    _until(lambda: camera.refused_opens >= 5, "five refusals")
    assert rig.backoff.waits >= 4


def test_the_first_attempt_comes_soon_and_later_ones_at_least_twice_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[float, float]] = []

    def spy(first_s: float, max_s: float, random: Callable[[], float]) -> Backoff:
        limits.append((first_s, max_s))
        return Backoff(first_s, max_s, random)

    monkeypatch.setattr("edgeapp.vision.capture.Backoff", spy)
    for kind in ("v4l2", "rtsp"):
        Capture(CameraConfig(kind=kind, source="x"), Slot(), min_size=(32, 32))
    assert limits == [(0.2, 10.0), (0.2, 30.0)]


def test_a_lasting_failure_is_logged_once(build: Build, caplog: pytest.LogCaptureFixture) -> None:
    camera = FakeCamera(_PICTURES)
    camera.unplug()
    with caplog.at_level(logging.WARNING):
        rig = build(camera)
        rig.start()
        _until(lambda: camera.refused_opens >= 4, "four refusals")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(("fps", "limit_s"), [(15.0, 2.0), (0.5, 6.0)])
def test_a_read_that_hangs_is_stalled_after_two_seconds_or_three_periods(
    build: Build, fps: float, limit_s: float
) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera, fps=fps)
    rig.tick(3, period_s=1 / fps)
    camera.hang()
    rig.clock.advance(limit_s - 0.01)
    assert rig.health().state == "running"
    rig.clock.advance(0.02)
    assert rig.health().state == "stalled"
    assert rig.health().source_fps == 0
    camera.unhang()
    rig.tick()
    rig.until_state("running")


def test_a_camera_that_halves_its_rate_in_the_dark_is_not_stalled(build: Build) -> None:
    rig = _started(build, FakeCamera(_PICTURES), fps=15)
    rig.tick(4, period_s=1.5)
    rig.clock.advance(4.0)
    assert rig.health().state == "running"
    rig.clock.advance(0.6)
    assert rig.health().state == "stalled"


def test_an_opening_that_hangs_is_stalled(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    may_open, is_opening = threading.Event(), threading.Event()
    opened = camera.open

    def slow_open() -> Any:
        is_opening.set()
        may_open.wait(_LIMIT_S)
        return opened()

    camera.open = slow_open  # type: ignore[method-assign]
    rig = build(camera)
    rig.start()
    assert is_opening.wait(_LIMIT_S)
    rig.clock.advance(14)
    assert rig.health().state == "opening"
    rig.clock.advance(2)
    assert rig.health().state == "stalled"
    may_open.set()


def test_stopping_does_not_wait_for_a_driver_that_hangs(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    camera.hang()
    assert not rig.capture.stop(budget_s=0.05)
    assert rig.slot.take(60) is None, "the slot is closed nevertheless"


def test_torn_frames_are_dropped_and_the_source_stays_open(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.slot.want(0)
    rig.tick(2)
    camera.tear(3)
    rig.tick(3)
    assert "frame torn" in rig.health().error
    rig.tick(1)
    assert (camera.opens, camera.closes) == (1, 0)
    assert rig.health().frames_dropped >= 3
    assert rig.health().state == "running"
    assert rig.health().frames_captured == 6


def test_thirty_torn_frames_in_a_row_open_the_source_anew(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig = _started(build, camera)
    rig.slot.want(0)
    camera.tear(30)
    camera.tick(30)
    _until(lambda: camera.opens == 2, "the second opening")
    assert "30 frames in a row cannot be decoded" in rig.health().error
    rig.tick(1)
    assert rig.health().state == "running"


def test_a_frozen_and_a_black_camera_are_told_from_their_frames(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    rig, thumbnail, judge = _started(build, camera), Thumbnail(), PictureJudge(is_live=True)

    def verdicts(frames: int) -> list[str]:
        seen = []
        for _ in range(frames):
            rig.slot.want(0)
            rig.tick(period_s=0.1)
            frame = rig.slot.take(0)
            assert frame is not None
            seen.append(judge.see(thumbnail.of(frame.picture), frame.captured_ns).value)
        return seen

    assert set(verdicts(30)) == {"ok"}
    camera.freeze()
    assert verdicts(30)[-1] == "frozen"
    camera.go_black()
    assert verdicts(30)[-1] == "black"
    camera.recover()
    assert verdicts(30)[-1] == "ok"
    assert rig.health().state == "running"


def test_an_unexpected_error_reaches_the_thread_that_takes_frames(build: Build) -> None:
    camera = FakeCamera(_PICTURES)

    def broken() -> Any:
        raise ZeroDivisionError("a mistake in the driver's binding")

    camera.open = broken  # type: ignore[method-assign]
    rig = build(camera)
    rig.start()
    with pytest.raises(ZeroDivisionError):
        rig.slot.take(_LIMIT_S)


def test_a_hundred_reopenings_close_each_source_and_leave_no_thread(build: Build) -> None:
    camera = FakeCamera(_PICTURES)
    threads = threading.active_count()
    rig = _started(build, camera)
    for cycle in range(1, 101):
        rig.tick()
        camera.unplug()
        camera.plug()
        _until(partial(camera.has_opened, cycle + 1), "the next opening")
    assert rig.capture.reopened == 100
    camera.unplug()
    assert rig.capture.stop(_LIMIT_S)
    assert camera.closes == camera.opens == 101
    assert threading.active_count() == threads


def _write_video(path: Path, frames: int, fourcc: str = "MJPG", fps: float = 25.0) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 10 + 7 * number, np.uint8))
    writer.release()


def _levels(rig: _Rig, frames: int) -> list[int]:
    levels = []
    for _ in range(frames):
        frame = rig.slot.take(_LIMIT_S)
        assert frame is not None
        levels.append(round((int(frame.picture.mean()) - 10) / 7))
    return levels


def test_a_fast_replay_hands_over_every_frame_in_order_again_and_again(build: Build, tmp_path: Path) -> None:
    _write_video(tmp_path / "clip.avi", 20)
    rig = build(None, kind="video", source=str(tmp_path / "clip.avi"), replay="fast")
    rig.start()
    assert _levels(rig, 60) == list(range(20)) * 3
    assert rig.health().frames_dropped == 0
    assert rig.health().reopened == 0


def test_a_fast_replay_that_does_not_loop_ends_after_its_last_frame(build: Build, tmp_path: Path) -> None:
    _write_video(tmp_path / "clip.avi", 12)
    rig = build(None, kind="video", source=str(tmp_path / "clip.avi"), replay="fast", loop=False)
    rig.start()
    assert _levels(rig, 12) == list(range(12))
    rig.until_state("ended")
    assert rig.slot.take(0.01) is None
    assert rig.health().error == ""


def test_a_fast_replay_whose_frames_are_taken_slowly_is_not_stalled(build: Build, tmp_path: Path) -> None:
    _write_video(tmp_path / "clip.avi", 12)
    rig = build(None, kind="video", source=str(tmp_path / "clip.avi"), replay="fast")
    rig.start()
    _until(lambda: rig.capture.frames_captured == 2, "the frame that waits for its turn")
    _until(lambda: rig.capture.health(time.monotonic_ns() + 60 * _S).state == "running", "running")


def test_a_deleted_video_is_retried_until_it_is_there_again(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    _write_video(path, 20)
    kept = tmp_path / "kept.avi"
    os.link(path, kept)
    rig = build(None, kind="video", source=str(path))
    rig.start()
    rig.slot.want(0)
    rig.until_state("running")
    path.unlink()
    rig.until_state("retrying")
    assert str(path) in rig.health().error
    captured = rig.capture.frames_captured
    kept.rename(path)
    rig.until_state("running")
    _until(lambda: rig.capture.frames_captured > captured, "frames again")
    assert rig.health().reopened == 1


def test_a_folder_of_images_with_torn_ones_gives_the_others_in_order(build: Build, tmp_path: Path) -> None:
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), 10 + 7 * number, np.uint8))
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    (tmp_path / "3.png").write_text("an error page")
    rig = build(None, kind="images", source=str(tmp_path), replay="fast")
    rig.start()
    assert _levels(rig, 6) == [0, 1, 4, 0, 1, 4]


def test_the_rate_is_that_of_the_last_two_seconds() -> None:
    meter = RateMeter()
    for tick in range(40):
        meter.tick(tick * _S // 10)
    assert meter.fps == pytest.approx(10)
    for tick in range(1, 100):
        meter.tick(39 * _S // 10 + tick * _S // 30)
    assert meter.fps == pytest.approx(30, rel=0.01)


def test_the_burst_at_the_beginning_of_a_stream_does_not_count_as_its_rate() -> None:
    meter = RateMeter()
    for tick in range(20):
        meter.tick(tick * _S // 1000)
    assert meter.fps == 0
    for tick in range(1, 20):
        meter.tick(_S // 50 + tick * _S // 10)
    assert meter.fps == pytest.approx(10)


def test_a_rate_below_one_frame_in_two_seconds_is_measured_too() -> None:
    meter = RateMeter()
    for tick in range(6):
        meter.tick(tick * 10 * _S)
    assert meter.fps == pytest.approx(0.1)
