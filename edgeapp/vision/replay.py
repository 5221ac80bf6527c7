"""Recordings in place of a camera: a video file or a folder of images.

Owns the order and the pace of their frames, looping, and noticing that the recording went away. Leaves reopening to
`capture.py`. Guarantees: the same recording gives the same frames in the same order every time; starting over at the
end is no failure; a recording that is deleted or replaced while it plays is one, although Linux would let the open
file be read on.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.vision.formats import Picture, Size, decode_mjpeg, fourcc_name, jpeg_reduction

_LOGGER = logging.getLogger(__name__)

_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
_CHECK_NS = 1_000_000_000  # how often to look whether the file is still there
_MOST_CARRY_NS = 1_000_000_000
_MAX_FPS = 240.0
_RAW_PACKETS = -1  # CAP_PROP_FORMAT: FFmpeg hands over the packets as they are in the file

Wait = Callable[[float], object]
"""Sleeps for some seconds, or less where the process is to stop."""


class Pace:
    """Holds frames back until they are due. Deadlines stand one period apart, so the mean rate is the recording's.

    A delay is made up by frames that are not held back, of at most a second: after a long stop there is no burst.
    """

    def __init__(self, fps: float, wait: Wait, monotonic_ns: Callable[[], int]) -> None:
        self._period_ns = round(1e9 / fps)
        self._wait = wait
        self._monotonic_ns = monotonic_ns
        self._due_ns: int | None = None

    def hold(self) -> None:
        """Return when the next frame is due."""
        now_ns = self._monotonic_ns()
        due_ns = now_ns if self._due_ns is None else self._due_ns + self._period_ns
        self._due_ns = due_ns = max(due_ns, now_ns - _MOST_CARRY_NS)
        if due_ns > now_ns:
            self._wait((due_ns - now_ns) / 1e9)


class VideoSource:
    """One opened video file. Of Motion JPEG the packets are taken, so that only wanted frames are decoded, reduced."""

    def __init__(
        self,
        config: CameraConfig,
        *,
        min_raw_size: Size,
        wait: Wait = time.sleep,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Raises:
            CaptureError: no such file, or not a video.
        """
        self._path = Path(config.source)
        self._loops = config.loop
        self._monotonic_ns = monotonic_ns
        self.has_ended = False
        self._identity = _identity_of(self._path)
        self._checked_ns = monotonic_ns()
        self._capture = self._open()
        self._is_first = True
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= _MAX_FPS else config.fps
        self._codec = fourcc_name(self._capture.get(cv2.CAP_PROP_FOURCC))
        self.reduce_to(min_raw_size)
        self._pace = Pace(self.fps, wait, monotonic_ns) if config.replay == "realtime" else None

    def reduce_to(self, min_raw_size: Size) -> None:
        """From now on decode JPEGs so that they are not below this size."""
        self._min_raw_size = min_raw_size
        divisor = jpeg_reduction((self.width, self.height), min_raw_size) if self._is_raw else 1
        self.pixel_format = self._codec if divisor == 1 else f"{self._codec} 1/{divisor}"

    def grab(self) -> bool:
        """Advance; start over at the end where the recording loops.

        Raises:
            CaptureError: the file was deleted or replaced, or holds no frame.
        """
        if self._pace is not None:
            self._pace.hold()
        if self._monotonic_ns() - self._checked_ns >= _CHECK_NS:
            self._check_file()
        if self._capture.grab():
            self._is_first = False
            return True
        if self._is_first:
            raise CaptureError(f"{self._path}: expected a video, found no frame in it")
        if not self._loops:
            self.has_ended = True
            return False
        # Opening anew gives the first frame again with every container; seeking does not.
        self._capture.release()
        self._check_file()
        self._capture = self._open()
        if not self._capture.grab():
            raise CaptureError(f"{self._path}: gave frames before, but none when started over")
        return True

    def retrieve(self, buffer: Picture | None) -> Picture:
        if self._is_raw:
            is_there, packet = self._capture.retrieve()
            if not is_there:
                raise CaptureError(f"{self._path}: the frame has no data")
            return decode_mjpeg(packet.view(np.uint8), self._min_raw_size)
        is_there, picture = self._capture.retrieve(buffer) if buffer is not None else self._capture.retrieve()
        if not is_there:
            raise CaptureError(f"{self._path}: a frame cannot be decoded")
        return picture.view(np.uint8)

    def close(self) -> None:
        self._capture.release()

    def _open(self) -> cv2.VideoCapture:
        # One thread: with more, FFmpeg holds frames back, and takes the cores that the model needs.
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not capture.isOpened():
            capture.release()
            raise CaptureError(f"{self._path}: expected a video, found a file that FFmpeg cannot read")
        is_jpeg = fourcc_name(capture.get(cv2.CAP_PROP_FOURCC)) == "MJPG"
        self._is_raw = is_jpeg and capture.set(cv2.CAP_PROP_FORMAT, _RAW_PACKETS)
        return capture

    def _check_file(self) -> None:
        self._checked_ns = self._monotonic_ns()
        if _identity_of(self._path) != self._identity:
            raise CaptureError(f"{self._path}: was replaced while it played")


class ImagesSource:
    """The images (jpg, png, bmp) of a folder in the order of their names, at `camera.fps`.

    The folder is read anew at each pass. What is no image by its first bytes is passed over; an image torn
    further on fails in `retrieve`.
    """

    def __init__(
        self,
        config: CameraConfig,
        *,
        wait: Wait = time.sleep,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Raises:
            CaptureError: no such folder, or no image in it.
        """
        self._folder = Path(config.source)
        self._loops = config.loop
        self.pixel_format = "images"
        self.fps = config.fps
        self.has_ended = False
        self._paths = iter(self._list())
        self._current = self._folder
        self._data: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._has_good = False
        self._pace = Pace(config.fps, wait, monotonic_ns) if config.replay == "realtime" else None

    def grab(self) -> bool:
        """Read the next image's bytes; start over at the end where the folder loops.

        Raises:
            CaptureError: the folder is gone, or not one image of the last pass could be read.
        """
        if self._pace is not None:
            self._pace.hold()
        if self._advance():
            return True
        if not self._loops:
            self.has_ended = True
            return False
        if not self._has_good:
            raise CaptureError(f"{self._folder}: not one of its images can be read")
        self._has_good = False
        self._paths = iter(self._list())
        if not self._advance():
            raise CaptureError(f"{self._folder}: not one of its images can be read")
        return True

    def retrieve(self, buffer: Picture | None) -> Picture:
        try:
            picture = cv2.imdecode(self._data, cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise CaptureError(f"{self._current}: cannot be decoded: {error}") from error
        if picture is None:
            raise CaptureError(f"{self._current}: expected an image, found a torn or unknown one")
        self._has_good = True
        if buffer is None or buffer.shape != picture.shape:
            return picture.view(np.uint8)
        np.copyto(buffer, picture)
        return buffer

    def close(self) -> None:
        self._paths = iter(())

    def _advance(self) -> bool:
        for path in self._paths:
            try:
                data = np.fromfile(path, np.uint8)
            except OSError as error:
                if not self._folder.is_dir():
                    raise CaptureError(f"{self._folder}: expected a folder of images, found none") from error
                data = np.empty(0, np.uint8)
            if data.size and cv2.haveImageReader(str(path)):
                self._current, self._data = path, data
                return True
            _LOGGER.debug("%s: passed over, not an image", path)
        return False

    def _list(self) -> list[Path]:
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES)
        except OSError as error:
            raise CaptureError(f"{self._folder}: expected a folder of images: {error.strerror}") from error
        if not paths:
            raise CaptureError(f"{self._folder}: expected jpg, png or bmp files, found none")
        return paths


def _identity_of(path: Path) -> tuple[int, int]:
    """Device and inode: another file under the same name has others.

    Raises:
        CaptureError: there is no such file.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise CaptureError(f"{path}: expected a video file: {error.strerror}") from error
    return status.st_dev, status.st_ino
