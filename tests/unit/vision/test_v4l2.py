from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.vision.v4l2 import (
    Granted,
    V4l2Source,
    cameras_in,
    check_capability,
    check_device,
    explain_refusal,
    negotiate,
)
from tests.fakes.uvc import UvcCamera

_WEBCAM = {
    ("YUYV", 640, 480): 30.0,
    ("YUYV", 1280, 720): 10.0,
    ("MJPG", 640, 480): 30.0,
    ("MJPG", 1280, 720): 30.0,
}


def _picture() -> np.ndarray:
    y, x = np.mgrid[0:480, 0:640]
    return np.stack([40 + x / 4, 200 - y / 4, 60 + x / 8 + y / 8], axis=-1).astype(np.uint8)


def _config(**settings: Any) -> CameraConfig:
    return CameraConfig(**{"kind": "v4l2", "source": "/dev/video0", **settings})


def test_uncompressed_pictures_are_preferred_where_size_and_rate_allow() -> None:
    camera = UvcCamera(_WEBCAM, _picture())
    assert negotiate(camera, _config(fps=15)) == Granted("YUYV", 640, 480, 15)


def test_motion_jpeg_is_taken_where_uncompressed_pictures_come_too_slowly() -> None:
    camera = UvcCamera(_WEBCAM, _picture())
    assert negotiate(camera, _config(width=1280, height=720, fps=15)) == Granted("MJPG", 1280, 720, 15)


def test_a_camera_without_motion_jpeg_gives_what_it_can() -> None:
    camera = UvcCamera({("YUYV", 1280, 720): 10.0}, _picture())
    assert negotiate(camera, _config(width=1280, height=720, fps=15)) == Granted("YUYV", 1280, 720, 10)


def test_of_two_that_do_not_fit_the_nearer_size_is_taken_and_set_again() -> None:
    camera = UvcCamera({("YUYV", 640, 360): 30.0, ("MJPG", 1920, 1080): 30.0}, _picture())
    granted = negotiate(camera, _config(width=640, height=480))
    assert granted == Granted("YUYV", 640, 360, 15)
    assert V4l2Source(camera, _config(), min_raw_size=(32, 32)).width == 640


@pytest.mark.parametrize(("pixel_format", "fourcc"), [("yuyv", "YUYV"), ("mjpeg", "MJPG")])
def test_a_configured_format_is_asked_for_alone(pixel_format: str, fourcc: str) -> None:
    assert negotiate(UvcCamera(_WEBCAM, _picture()), _config(pixel_format=pixel_format)).fourcc == fourcc


def test_a_camera_with_raw_sensor_data_alone_is_refused_and_released() -> None:
    camera = UvcCamera({("RG10", 640, 480): 30.0}, _picture())
    with pytest.raises(CaptureError, match=r"expected YUYV or MJPG, found RG10; .*picamera2"):
        V4l2Source(camera, _config(), min_raw_size=(32, 32))
    assert camera.is_released


def test_a_yuyv_camera_delivers_the_picture_into_the_given_buffer() -> None:
    source = V4l2Source(UvcCamera(_WEBCAM, _picture()), _config(), min_raw_size=(300, 300))
    buffer = np.zeros((480, 640, 3), np.uint8)
    assert source.grab()
    picture = source.retrieve(buffer)
    assert np.shares_memory(picture, buffer)
    assert np.abs(picture.astype(int) - _picture()).mean() < 2
    assert source.pixel_format == "YUYV"


def test_a_motion_jpeg_camera_is_decoded_no_larger_than_needed_and_tells_what_was_granted() -> None:
    config = _config(width=1280, height=720)
    source = V4l2Source(UvcCamera(_WEBCAM, _picture()), config, min_raw_size=(300, 300))
    assert source.grab()
    assert source.retrieve(None).shape == (360, 640, 3)
    assert (source.width, source.height, source.fps) == (1280, 720, 15)
    assert source.pixel_format == "MJPG 1/2"


@pytest.mark.parametrize("pixel_format", ["yuyv", "mjpeg"])
def test_a_torn_frame_fails_and_the_next_one_is_whole(pixel_format: str) -> None:
    camera = UvcCamera(_WEBCAM, _picture())
    source = V4l2Source(camera, _config(pixel_format=pixel_format), min_raw_size=(640, 480))
    camera.torn_bytes = 3000
    assert source.grab()
    with pytest.raises(CaptureError, match="torn"):
        source.retrieve(None)
    camera.torn_bytes = 0
    assert source.grab()
    assert source.retrieve(None).shape == (480, 640, 3)


def test_closing_releases_the_device() -> None:
    camera = UvcCamera(_WEBCAM, _picture())
    V4l2Source(camera, _config(), min_raw_size=(32, 32)).close()
    assert camera.is_released


def test_a_missing_camera_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    for name in ("usb-Logi_C920-index0", "usb-Arducam-index0"):
        (tmp_path / name).touch()
    with pytest.raises(CaptureError, match=r"video9: no such camera; cameras found: .*usb-Arducam-index0, .*usb-Logi"):
        check_device("/dev/video9", cameras_in(tmp_path))


def test_without_any_camera_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cameras found: none"):
        check_device("/dev/video9", cameras_in(tmp_path / "by-id"))


@pytest.mark.parametrize(
    ("number", "words"), [(errno.EACCES, "group video"), (errno.EBUSY, "another program"), (errno.EIO, "Input/output")]
)
def test_a_refusal_says_what_to_do(number: int, words: str) -> None:
    assert words in explain_refusal("/dev/video0", OSError(number, os.strerror(number)), ())


def test_a_file_that_is_no_video_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(CaptureError, match="expected a video device"):
        check_device(str(path), ())


def _capability(card: bytes, capabilities: int, device: int) -> bytes:
    return struct.pack("=16s32s32sIII12x", b"driver", card, b"bus", 0x60000, capabilities, device)


def test_a_codec_of_the_board_is_no_camera() -> None:
    with pytest.raises(CaptureError, match="found 'bcm2835-codec-decode', which does not capture"):
        check_capability("/dev/video10", _capability(b"bcm2835-codec-decode", 0x84208001, 0x04208000))


@pytest.mark.parametrize(("capabilities", "device"), [(0x84A00001, 0x04200001), (0x05000001, 0)])
def test_a_webcam_is_a_camera_also_with_an_old_driver(capabilities: int, device: int) -> None:
    check_capability("/dev/video0", _capability(b"HD Pro Webcam C920", capabilities, device))
