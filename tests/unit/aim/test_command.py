"""When aiming may begin, and where it listens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeapp import cli
from edgeapp.aim.command import Board, check_address, check_service, is_live
from edgeapp.config import CameraConfig, Config, DeviceConfig, InferenceConfig, MqttConfig
from edgeapp.errors import AimError
from edgeapp.system.files import hold_lock
from edgeapp.types import Sample, ThrottleFlags


@pytest.mark.parametrize("kind", ["v4l2", "picamera2", "rtsp", "video", "images"])
def test_without_the_service_aiming_may_begin(kind: str) -> None:
    check_service(kind, is_live=False, may_be_live=False)


@pytest.mark.parametrize("kind", ["rtsp", "video", "images"])
def test_beside_the_service_it_begins_only_where_that_is_asked_for(kind: str) -> None:
    check_service(kind, is_live=True, may_be_live=True)
    with pytest.raises(AimError, match="the service is live"):
        check_service(kind, is_live=True, may_be_live=False)


@pytest.mark.parametrize("kind", ["v4l2", "picamera2"])
@pytest.mark.parametrize("may_be_live", [True, False])
def test_a_camera_that_has_one_user_is_not_taken_from_the_service(kind: str, may_be_live: bool) -> None:
    with pytest.raises(AimError, match="has the camera"):
        check_service(kind, is_live=True, may_be_live=may_be_live)


def test_the_lock_tells_whether_the_service_is_live(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    assert not is_live(lock)
    descriptor = hold_lock(lock)
    assert is_live(lock)
    os.close(descriptor)
    assert not is_live(lock)


def test_who_cannot_tell_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AimError, match="cannot tell whether the service is live"):
        is_live(tmp_path / "file" / "lock")


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "8.8.8.8", "shop.example"])
def test_the_world_is_not_listened_to(address: str) -> None:
    with pytest.raises(AimError, match="private network"):
        check_address(address)


class _Sensors:
    def __init__(self, *samples: Sample) -> None:
        self._samples = samples

    def take(self) -> tuple[Sample, ...]:
        samples, self._samples = self._samples, ()
        return samples


def test_the_newest_temperature_stands_until_the_next() -> None:
    config = Config(
        device=DeviceConfig(id="shop"),
        camera=CameraConfig(kind="video", source="v"),
        inference=InferenceConfig(model_dir="m"),
        mqtt=MqttConfig(host="h"),
    )
    board = Board(config, _Sensors(Sample(50.0, None), Sample(61.0, ThrottleFlags(throttled=True))))
    assert board.facts()["temp_c"] is None
    for _ in range(2):
        board.update()
        assert (board.facts()["temp_c"], board.facts()["is_throttled"]) == (61.0, True)


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--minutes", "61"], ["--port", "65536"], ["--port", "x"]])
def test_a_number_out_of_its_range_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["aim", *arguments])
    assert "expected" in capsys.readouterr().err
