from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.vision.replay import ImagesSource, Pace, VideoSource

_S = 1_000_000_000


class _Time:
    """A clock that advances only while someone sleeps, and the sleeps."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.sleeps: list[float] = []

    def __call__(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_ns += round(seconds * _S)


def _config(path: Path, kind: str = "video", **settings: Any) -> CameraConfig:
    return CameraConfig(**{"kind": kind, "source": str(path), "replay": "fast", **settings})


def _write_video(path: Path, fourcc: str, frames: int = 20, fps: float = 25.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (160, 120))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((120, 160, 3), 10 + 10 * number, np.uint8))
    writer.release()
    return path


_VIDEOS = pytest.mark.parametrize(("name", "fourcc"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])


def _levels(source: VideoSource | ImagesSource, frames: int) -> list[int]:
    levels = []
    for _ in range(frames):
        assert source.grab()
        levels.append(round((int(source.retrieve(None).mean()) - 10) / 10))
    return levels


@_VIDEOS
def test_a_video_starts_over_with_its_first_frame(tmp_path: Path, name: str, fourcc: str) -> None:
    source = VideoSource(_config(_write_video(tmp_path / name, fourcc)), min_raw_size=(160, 120))
    assert _levels(source, 50) == [*range(20), *range(20), *range(10)]
    assert not source.has_ended
    source.close()


@_VIDEOS
def test_a_video_that_does_not_loop_ends(tmp_path: Path, name: str, fourcc: str) -> None:
    source = VideoSource(_config(_write_video(tmp_path / name, fourcc), loop=False), min_raw_size=(160, 120))
    assert _levels(source, 20) == list(range(20))
    assert not source.grab()
    assert source.has_ended


@_VIDEOS
def test_two_replays_give_the_same_pixels(tmp_path: Path, name: str, fourcc: str) -> None:
    path = _write_video(tmp_path / name, fourcc)
    first, second = (VideoSource(_config(path), min_raw_size=(160, 120)) for _ in range(2))
    for _ in range(45):
        assert first.grab()
        assert second.grab()
        assert np.array_equal(first.retrieve(None), second.retrieve(None))


@_VIDEOS
def test_frames_that_are_not_retrieved_are_passed_over(tmp_path: Path, name: str, fourcc: str) -> None:
    source = VideoSource(_config(_write_video(tmp_path / name, fourcc)), min_raw_size=(160, 120))
    for _ in range(7):
        assert source.grab()
    assert _levels(source, 1) == [7]


def test_size_rate_and_codec_of_the_file_are_told(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "clip.mp4", "mp4v", fps=12.5)
    source = VideoSource(_config(path), min_raw_size=(160, 120))
    assert (source.width, source.height, source.fps) == (160, 120, 12.5)
    assert source.pixel_format.lower() in ("mp4v", "fmp4")


def test_motion_jpeg_is_decoded_no_larger_than_the_model_needs(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "clip.avi", "MJPG")
    source = VideoSource(_config(path), min_raw_size=(80, 60))
    assert source.pixel_format == "MJPG 1/2"
    assert source.grab()
    assert source.retrieve(None).shape == (60, 80, 3)


def test_a_video_is_decoded_into_the_given_buffer(tmp_path: Path) -> None:
    source = VideoSource(_config(_write_video(tmp_path / "clip.mp4", "mp4v")), min_raw_size=(160, 120))
    buffer = np.zeros((120, 160, 3), np.uint8)
    assert source.grab()
    assert np.shares_memory(source.retrieve(buffer), buffer)
    assert buffer.any()


def test_a_video_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"gone\.mp4: expected a video file: No such file"):
        VideoSource(_config(tmp_path / "gone.mp4"), min_raw_size=(32, 32))


def test_a_file_that_is_no_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "page.mp4"
    path.write_text("<html>not found</html>" * 100)
    with pytest.raises(CaptureError, match=r"page\.mp4: expected a video"):
        VideoSource(_config(path), min_raw_size=(32, 32))


@_VIDEOS
def test_a_deleted_video_fails_within_a_second_although_it_could_be_read_on(
    tmp_path: Path, name: str, fourcc: str
) -> None:
    path, time = _write_video(tmp_path / name, fourcc), _Time()
    source = VideoSource(_config(path), min_raw_size=(160, 120), monotonic_ns=time)
    assert source.grab()
    path.unlink()
    time.now_ns = _S // 2
    assert source.grab()
    time.now_ns = _S
    with pytest.raises(CaptureError, match="No such file"):
        source.grab()


def test_a_video_that_is_replaced_fails_so_that_the_new_one_is_opened(tmp_path: Path) -> None:
    path, time = _write_video(tmp_path / "clip.avi", "MJPG"), _Time()
    source = VideoSource(_config(path), min_raw_size=(160, 120), monotonic_ns=time)
    assert source.grab()
    _write_video(tmp_path / "other.avi", "MJPG", frames=3).rename(path)
    time.now_ns = _S
    with pytest.raises(CaptureError, match="was replaced"):
        source.grab()


def test_a_deleted_video_fails_when_it_would_start_over(tmp_path: Path) -> None:
    path = _write_video(tmp_path / "clip.avi", "MJPG", frames=3)
    source = VideoSource(_config(path), min_raw_size=(160, 120), monotonic_ns=_Time())
    path.unlink()
    assert _levels(source, 3) == [0, 1, 2]
    with pytest.raises(CaptureError, match="No such file"):
        source.grab()


def test_a_hundred_openings_of_a_video_leave_no_file_and_no_thread(tmp_path: Path) -> None:
    paths = [_write_video(tmp_path / "clip.avi", "MJPG", 3), _write_video(tmp_path / "clip.mp4", "mp4v", 3)]

    def used() -> tuple[int, int, int]:
        files, tasks = Path("/proc/self/fd"), Path("/proc/self/task")
        return len(list(files.iterdir())), len(list(tasks.iterdir())), threading.active_count()

    def open_and_close(times: int) -> None:
        for number in range(times):
            source = VideoSource(_config(paths[number % 2]), min_raw_size=(160, 120))
            assert source.grab()
            source.close()

    open_and_close(2)  # what the libraries allocate once
    before = used()
    open_and_close(100)
    assert used() == before


def test_frames_come_at_the_pace_of_the_file(tmp_path: Path) -> None:
    path, time = _write_video(tmp_path / "clip.avi", "MJPG", frames=20, fps=10), _Time()
    source = VideoSource(_config(path, replay="realtime"), min_raw_size=(160, 120), wait=time.sleep, monotonic_ns=time)
    times_ns = []
    for _ in range(50):
        assert source.grab()
        times_ns.append(time())
    assert np.diff(times_ns) == pytest.approx(_S / 10)


def test_a_delay_is_made_up_without_holding_frames_back() -> None:
    time = _Time()
    pace = Pace(10, time.sleep, time)
    for _ in range(3):
        pace.hold()
    time.now_ns += round(0.45 * _S)  # the machine was busy
    arrivals_ns = []
    for _ in range(8):
        pace.hold()
        arrivals_ns.append(time())
    assert arrivals_ns[:4] == [round(0.65 * _S)] * 4
    assert arrivals_ns[4:] == [round(due * _S) for due in (0.7, 0.8, 0.9, 1.0)]


def test_after_a_long_stop_at_most_a_second_of_frames_is_made_up() -> None:
    time = _Time()
    pace = Pace(10, time.sleep, time)
    pace.hold()
    time.now_ns += 3600 * _S
    held = 0
    while not time.sleeps:
        pace.hold()
        held += 1
    assert held <= 12


def _write_images(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((48, 64, 3), 10 + 10 * number, np.uint8))
    return folder


def test_images_come_in_the_order_of_their_names_again_and_again(tmp_path: Path) -> None:
    folder = _write_images(tmp_path, ["a.bmp", "b.png", "c.PNG", "d.jpg"])
    (folder / "notes.txt").write_text("no image")
    source = ImagesSource(_config(folder, "images"))
    assert _levels(source, 9) == [0, 1, 2, 3, 0, 1, 2, 3, 0]


def test_images_that_do_not_loop_end(tmp_path: Path) -> None:
    source = ImagesSource(_config(_write_images(tmp_path, ["a.bmp"]), "images", loop=False))
    assert _levels(source, 1) == [0]
    assert not source.grab()
    assert source.has_ended


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    folder = _write_images(tmp_path, ["a.bmp", "b.bmp", "c.bmp"])
    (folder / "b.bmp").write_text("an error page")
    source = ImagesSource(_config(folder, "images"))
    assert _levels(source, 2) == [0, 2]


def test_a_torn_image_fails_by_name_and_the_next_one_comes(tmp_path: Path) -> None:
    folder = _write_images(tmp_path, ["a.png", "b.png"])
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:50])
    source = ImagesSource(_config(folder, "images"))
    assert source.grab()
    with pytest.raises(CaptureError, match=r"a\.png"):
        source.retrieve(None)
    assert _levels(source, 1) == [1]


def test_a_folder_in_which_nothing_can_be_read_fails_after_one_pass(tmp_path: Path) -> None:
    folder = _write_images(tmp_path, ["a.png"])
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:50])
    source = ImagesSource(_config(folder, "images"))
    assert source.grab()
    with pytest.raises(CaptureError):
        source.retrieve(None)
    with pytest.raises(CaptureError, match="not one of its images"):
        source.grab()


def test_a_folder_that_goes_away_fails(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    _write_images(folder, ["a.png", "b.png"])
    source = ImagesSource(_config(folder, "images"))
    assert _levels(source, 1) == [0]
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(CaptureError, match="expected a folder of images"):
        source.grab()


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_images_is_refused(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path if exists else tmp_path / "gone"
    with pytest.raises(CaptureError, match="expected"):
        ImagesSource(_config(folder, "images"))
