from __future__ import annotations

import logging
import os
import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.vision.sources import RtspSource, open_source, redact


def _config(kind: str, source: str, **settings: Any) -> CameraConfig:
    return CameraConfig(**{"kind": kind, "source": source, **settings})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_v4l2_path_that_does_not_exist_is_named() -> None:
    with pytest.raises(CaptureError, match="/dev/video-nowhere: no such camera"):
        open_source(_config("v4l2", "/dev/video-nowhere"), min_size=(32, 32))


def test_a_video_and_a_folder_of_images_are_opened(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 64, 3), 77, np.uint8))
    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    writer.write(np.full((48, 64, 3), 77, np.uint8))
    writer.release()
    for config in (_config("images", str(tmp_path)), _config("video", str(tmp_path / "clip.avi"))):
        source = open_source(config, min_size=(32, 32), wait=lambda _: None)
        assert source.grab()
        assert abs(float(source.retrieve(None).mean()) - 77) < 2
        source.close()


def test_a_jpeg_is_reduced_only_as_far_as_crop_and_rotation_leave_the_model_enough(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (640, 480))
    writer.write(np.full((480, 640, 3), 77, np.uint8))
    writer.release()

    def shape(**settings: Any) -> tuple[int, ...]:
        source = open_source(_config("video", str(path), **settings), min_size=(240, 160))
        assert source.grab()
        return source.retrieve(None).shape[:2]

    assert shape() == (240, 320)
    assert shape(crop=(0.0, 0.0, 0.5, 1.0)) == (480, 640)
    assert shape(rotate_deg=90) == (240, 320)
    assert shape(rotate_deg=90, crop=(0.0, 0.0, 0.9, 1.0)) == (240, 320)
    assert shape(rotate_deg=90, crop=(0.0, 0.0, 0.7, 1.0)) == (480, 640)


def test_without_picamera2_the_package_to_install_is_named() -> None:
    assert "picamera2" not in sys.modules
    with pytest.raises(CaptureError, match="apt install python3-picamera2"):
        open_source(_config("picamera2", "0"), min_size=(32, 32))


class _Board:
    """A stand-in for the picamera2 library: one camera with a frame counter in its pixels."""

    def __init__(self) -> None:
        self.held = 0
        self.released = 0
        self.frames = 0
        self.is_started = self.is_closed = False
        self.configuration: dict[str, Any] = {}

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        board = self

        class Request:
            def __init__(self) -> None:
                board.frames += 1
                board.held += 1
                self.array: np.ndarray = np.full((480, 640, 3), board.frames, np.uint8)

            def release(self) -> None:
                board.held -= 1
                board.released += 1

        class MappedArray:
            def __init__(self, request: Request, stream: str) -> None:
                assert stream == "main"
                self.array: np.ndarray = request.array

            def __enter__(self) -> MappedArray:
                return self

            def __exit__(self, *_: object) -> None:
                self.array = np.zeros(0, np.uint8)

        class Picamera2:
            def __init__(self, number: int) -> None:
                if number:
                    raise IndexError("list index out of range")

            def create_video_configuration(self, **settings: Any) -> dict[str, Any]:
                return settings

            def align_configuration(self, configuration: dict[str, Any]) -> None:
                configuration["main"]["size"] = (640, 480)

            def configure(self, configuration: dict[str, Any]) -> None:
                board.configuration = configuration

            def camera_configuration(self) -> dict[str, Any]:
                return board.configuration

            def start(self) -> None:
                board.is_started = True

            def stop(self) -> None:
                board.is_started = False

            def close(self) -> None:
                board.is_closed = True

            def capture_request(self) -> Request:
                return Request()

        library = types.SimpleNamespace(Picamera2=Picamera2, MappedArray=MappedArray)
        monkeypatch.setitem(sys.modules, "picamera2", library)


def test_a_raspberry_pi_camera_delivers_its_frames_and_gives_every_request_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = _Board()
    board.install(monkeypatch)
    source = open_source(_config("picamera2", "0", fps=20), min_size=(32, 32))
    assert board.configuration["main"] == {"size": (640, 480), "format": "RGB888"}
    assert board.configuration["controls"] == {"FrameDurationLimits": (50_000, 50_000)}
    buffer = np.zeros((480, 640, 3), np.uint8)
    for number in range(1, 6):
        assert source.grab()
        assert board.held == 1
        assert source.retrieve(buffer) is buffer
        assert (buffer == number).all()
    first = source.retrieve(None)
    source.close()
    source.close()
    assert (first == 5).all(), "a picture of its own outlives the request"
    assert (board.held, board.released, board.is_started, board.is_closed) == (0, 5, False, True)


def test_a_raspberry_pi_camera_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _Board().install(monkeypatch)
    with pytest.raises(CaptureError, match="Raspberry Pi camera 3: cannot be started: list index"):
        open_source(_config("picamera2", "3"), min_size=(32, 32))


def test_a_stream_that_nobody_serves_is_refused_without_its_password(
    listener: socket.socket, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    port = listener.getsockname()[1]
    listener.close()
    url = f"rtsp://operator:Hunter2@127.0.0.1:{port}/live?token=Hunter2"
    with caplog.at_level(logging.DEBUG), pytest.raises(CaptureError) as caught:
        open_source(_config("rtsp", url), min_size=(32, 32))
    assert f"127.0.0.1 port {port}: [Errno 111] Connection refused" in str(caught.value)
    written = capfd.readouterr()
    for text in (str(caught.value), repr(caught.value), caplog.text, written.out, written.err):
        assert "Hunter2" not in text
        assert "operator" not in text


def test_a_server_that_accepts_and_says_nothing_is_given_up(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(CaptureError, match="answers, but gives no stream"):
        RtspSource(f"rtsp://127.0.0.1:{port}/live", open_timeout_ms=300)


def test_an_address_that_is_no_stream_is_refused_without_what_it_holds() -> None:
    with pytest.raises(CaptureError, match="expected rtsp:// or rtsps://, found http://camera/…") as caught:
        open_source(_config("rtsp", "http://u:Hunter2@camera/x"), min_size=(32, 32))
    assert "Hunter2" not in str(caught.value)


def test_streams_are_carried_over_tcp() -> None:
    with pytest.raises(CaptureError):
        RtspSource("rtsp://127.0.0.1:9/live", open_timeout_ms=300)
    assert os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;tcp"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://u:p@camera.local:554/live", "rtsp://camera.local:554/…"),
        ("rtsp://camera/user=admin&password=p", "rtsp://camera/…"),
        ("rtsp://u:p@ss@[fe80::1]:8554/x", "rtsp://[fe80::1]:8554/…"),
        ("rtsps://u:p/w@10.0.0.5?x#y", "rtsps://10.0.0.5/…"),
        ("rtsp://u:p", "rtsp://…"),
        ("u:p@camera", "an address without a scheme"),
    ],
)
def test_of_an_address_only_scheme_host_and_port_are_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


_SECRET = st.text(st.sampled_from("abcXYZ019:/?#[]@!$&'()*+,;=%-._~ "), min_size=3).map(lambda text: f"Q{text}Q")


@given(_SECRET, _SECRET)
def test_no_password_survives_whatever_characters_it_has(user: str, password: str) -> None:
    shown = redact(f"rtsp://{user}:{password}@camera.local:554/live")
    assert shown == "rtsp://camera.local:554/…"
