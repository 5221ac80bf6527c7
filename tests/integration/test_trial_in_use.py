"""What only use shows of a model: a trial on the real daemon, with a real broker and real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeapp.status import Status
from tests.fakes.broker import Broker
from tests.fakes.device import write_video
from tests.fakes.fleet import Desk
from tests.fakes.subscriber import Subscriber
from tests.fakes.tiny_models import endless_model, make_model_folder
from tests.fakes.updating_device import NAME, PROBATION, UpdatingDevice, events, phases

_WAY = ["received", "verified", "downloading", "staged", "selftest", "standby"]
_SIZE_PX = 160  # a ms or more an inference, so that frames wait for it
_UNDER_WAY = 3  # frames captured and not yet inferred: one in work, one that waits, one in the capture's hand

_STRICT = {**PROBATION, "min_frames": 1, "max_p95_ratio": 1.5}
_LONG = {**PROBATION, "duration_s": 5.0}  # a busy core compares few frames; with two classes the model sees no white


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def device(tmp_path: Path, broker: Broker) -> Iterator[UpdatingDevice]:
    """Its replay waits until a frame was taken: however busy the core is, only the product itself can lose one."""
    folder = tmp_path / "device"
    make_model_folder(folder / "model", name=NAME, size_px=_SIZE_PX)
    write_video(folder / "video.avi", rows=(90, 0, 180))  # more to compare in each frame
    every_frame: dict[str, Any] = {"camera": {"replay": "fast"}, "motion": {"enabled": False}}
    with UpdatingDevice(folder, port=broker.port, **every_frame) as one:
        yield one


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as one:
        yield one


def test_an_operator_installs_a_good_release_and_no_frame_is_missed(
    tmp_path: Path, broker: Broker, device: UpdatingDevice
) -> None:
    device.release(2, size_px=_SIZE_PX)
    desk = Desk(tmp_path / "desk", broker.port, repository=device.repository)
    device.wait(lambda one: _under_way(one) == _UNDER_WAY, "a full pipeline: one frame lost would now be one more")
    install = ("command", "install", f"releases/{NAME}/2.json", "--device", "test-device", "--seq", "1", "--wait")
    status, answer = desk.run(*install, "--timeout", "60")
    assert (status, answer["devices"]["test-device"]["phase"]) == (0, "committed")
    after = device.wait(lambda one: _runs(one) == 2, "the new model")
    assert max(_under_way(device.wait_inferring()) for _ in range(3)) <= _UNDER_WAY
    assert (after.camera.frames_dropped, after.failures, after.vision_restarts) == (0, 0, {})  # type: ignore[union-attr]
    listed = desk.run("devices", "show", "test-device")[1]
    assert (listed["model"], listed["version"]) == (NAME, 2)


@pytest.mark.parametrize(
    ("code", "release"),
    [
        ("E_TRIAL_AGREEMENT", {"classes": ("person", "car"), "golden_bgr": (16, 16, 255), "probation": _LONG}),
        ("E_TRIAL_FAILRATE", {"dtype": "float32", "nan_above": 0.9, "golden_bgr": (210, 210, 210)}),
        (
            "E_TRIAL_LATENCY",
            {"dtype": "float32", "size_px": 480, "probation": _STRICT},
        ),
    ],
    ids=["blind in use", "no numbers in use", "slow in use"],
)
def test_a_model_that_fails_only_in_use_is_rolled_back_by_itself_and_never_tried_again(
    device: UpdatingDevice, subscriber: Subscriber, code: str, release: dict[str, Any]
) -> None:
    device.release(2, **release)
    device.wait_inferring()
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *_WAY, "trial", f"rolled_back {code}")
    after = device.wait(lambda one: _runs(one) == 1, "the factory model at work")
    assert _under_way(after) <= _UNDER_WAY
    assert after.camera is not None
    assert (after.camera.frames_dropped, after.vision_restarts, device.state().active) == (0, {}, None)
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *_WAY, "trial", f"rolled_back {code}", "refused E_BLOCKED")
    device.wait_inferring()


def test_a_model_that_crashes_the_runtime_never_becomes_active(device: UpdatingDevice, subscriber: Subscriber) -> None:
    def spoil(folder: Path) -> None:
        (folder / "model.tflite").write_bytes(endless_model())

    device.release(2, spoil=spoil)
    before = device.wait_inferring()
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *_WAY[:5], "failed E_LOAD_CRASH")
    assert "SIGSEGV" in events(subscriber)[-1]["text"]
    after = device.wait_inferring()
    assert (_runs(after), after.pid, after.vision_restarts) == (1, before.pid, {})


def _runs(status: Status) -> int:
    """The version of the model that runs; 0 where none does."""
    return status.model.version if status.model is not None else 0


def _under_way(status: Status) -> int:
    """Frames that were captured, and of which nobody has heard yet."""
    captured = status.camera.frames_captured if status.camera is not None else 0
    return captured - status.frames_inferred - status.failures


def _wait_phases(subscriber: Subscriber, *expected: str) -> None:
    """Wait until the events' phases are these."""
    subscriber.wait(lambda _: len(phases(subscriber)) >= len(expected), " ".join(expected))
    assert tuple(phases(subscriber)) == expected, events(subscriber)
