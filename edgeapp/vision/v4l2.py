"""V4L2 cameras: what to ask of them, what they grant, and why one will not open.

Owns the negotiation of size, rate and pixel format, and raw access: OpenCV hands over the camera's bytes, and
`formats.py` decodes those of wanted frames only. Leaves reopening to `capture.py`. Guarantees that what was granted
is recorded, and that a refusal names its cause: no such device, no permission, busy, not a camera.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.vision.formats import Picture, Size, decode_mjpeg, decode_yuyv, fourcc_name, jpeg_reduction

_LOGGER = logging.getLogger(__name__)

_BY_ID = Path("/dev/v4l/by-id")  # these names stay when cameras change places
_FORMATS = {"auto": ("YUYV", "MJPG"), "yuyv": ("YUYV",), "mjpeg": ("MJPG",)}
_BUFFERS = 2  # one being filled while one is read; what is older than that is of no use to anyone
_RATE_TOLERANCE = 0.9  # cameras say 14.985 for 15
_SELECT_TIMEOUT_ENV = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"

# linux/videodev2.h: VIDIOC_QUERYCAP and the struct v4l2_capability that it fills.
_QUERYCAP = 0x80685600
_CAPABILITY = struct.Struct("=16s32s32sIII12x")
_CAP_VIDEO_CAPTURE = 0x00000001
_CAP_DEVICE_CAPS = 0x80000000


class VideoDevice(Protocol):
    """What is used of an opened cv2.VideoCapture."""

    def get(self, propId: int, /) -> float: ...
    def set(self, propId: int, value: float, /) -> bool: ...
    def grab(self) -> bool: ...
    def retrieve(self, image: Picture | None = ..., /) -> tuple[bool, Picture]: ...
    def release(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Granted:
    """What the camera agreed to. `fps` is 0 where it does not say."""

    fourcc: str
    width: int
    height: int
    fps: float


class V4l2Source:
    """One opened V4L2 camera, delivering YUYV or Motion JPEG."""

    def __init__(self, device: VideoDevice, config: CameraConfig, *, min_raw_size: Size) -> None:
        """
        Raises:
            CaptureError: the camera offers neither YUYV nor MJPG; the device is closed.
        """
        self._device = device
        try:
            granted = negotiate(device, config)
        except CaptureError:
            device.release()
            raise
        self._is_jpeg = granted.fourcc == "MJPG"
        self.width, self.height, self.fps = granted.width, granted.height, granted.fps
        self._fourcc = granted.fourcc
        self._raw: Picture | None = None
        self.reduce_to(min_raw_size)

    def reduce_to(self, min_raw_size: Size) -> None:
        """From now on decode JPEGs so that they are not below this size."""
        self._min_raw_size = min_raw_size
        divisor = jpeg_reduction((self.width, self.height), min_raw_size) if self._is_jpeg else 1
        self.pixel_format = self._fourcc if divisor == 1 else f"{self._fourcc} 1/{divisor}"

    def grab(self) -> bool:
        return self._device.grab()

    def retrieve(self, buffer: Picture | None) -> Picture:
        is_there, raw = self._device.retrieve(self._raw) if self._raw is not None else self._device.retrieve()
        if not is_there or raw is None:
            raise CaptureError(f"{self.pixel_format} frame: expected the bytes of a frame, found none")
        if self._is_jpeg:
            return decode_mjpeg(raw, self._min_raw_size)
        self._raw = raw
        shape = (self.height, self.width, 3)
        return decode_yuyv(raw, buffer if buffer is not None and buffer.shape == shape else np.empty(shape, np.uint8))

    def close(self) -> None:
        self._device.release()


def open_v4l2(config: CameraConfig, *, min_raw_size: Size) -> V4l2Source:
    """Open the camera at the path `config.source`, or at /dev/video<n> where that is a number.

    Raises:
        CaptureError: and why.
    """
    path = f"/dev/video{config.source}" if config.source.isdecimal() else config.source
    check_device(path, cameras_in(_BY_ID))
    # A frame that does not come within three periods will not come; OpenCV would wait ten seconds for it.
    os.environ.setdefault(_SELECT_TIMEOUT_ENV, str(max(3, round(3 / config.fps))))
    device = cv2.VideoCapture(path, cv2.CAP_V4L2)
    if not device.isOpened():
        device.release()
        raise CaptureError(
            f"{path}: opens, but grants no capture: another program has it (`fuser -v {path}` names it), "
            "or it offers no format known here"
        )
    return V4l2Source(cast(VideoDevice, device), config, min_raw_size=min_raw_size)


def negotiate(device: VideoDevice, config: CameraConfig) -> Granted:
    """Ask for the configured size and rate, uncompressed first: decoding JPEG is the dearest step of all.

    Takes MJPG where YUYV cannot be had at that size and rate (USB 2 carries no more than 640×480 at 30 fps of it), and
    else whatever comes nearest, with a warning.

    Raises:
        CaptureError: no format that can be decoded.
    """
    device.set(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
    device.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    offers = []
    for name in _FORMATS[config.pixel_format]:
        granted = _request(device, name, config)
        offers.append(granted)
        if granted.fourcc == name and _is_as_wanted(granted, config):
            _LOGGER.info("camera grants %s", _describe(granted))
            return granted
    usable = [offer for offer in offers if offer.fourcc in _FORMATS[config.pixel_format]]
    if not usable:
        raise CaptureError(
            f"{config.source}: expected {' or '.join(_FORMATS[config.pixel_format])}, "
            f"found {', '.join(sorted({offer.fourcc for offer in offers}))}; "
            "a camera on the ribbon cable needs camera.kind: picamera2"
        )
    best = min(usable, key=lambda offer: _distance(offer, config))
    if best != offers[-1]:
        best = _request(device, best.fourcc, config)
    _LOGGER.warning(
        "camera grants %s, asked for %dx%d at %g fps", _describe(best), config.width, config.height, config.fps
    )
    return best


def _request(device: VideoDevice, fourcc: str, config: CameraConfig) -> Granted:
    device.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*fourcc))
    device.set(cv2.CAP_PROP_FRAME_WIDTH, config.width)
    device.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height)
    device.set(cv2.CAP_PROP_FPS, config.fps)
    return Granted(
        fourcc=fourcc_name(device.get(cv2.CAP_PROP_FOURCC)),
        width=int(device.get(cv2.CAP_PROP_FRAME_WIDTH)),
        height=int(device.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        fps=max(0.0, float(device.get(cv2.CAP_PROP_FPS))),
    )


def _is_as_wanted(granted: Granted, config: CameraConfig) -> bool:
    is_fast_enough = granted.fps == 0 or granted.fps >= _RATE_TOLERANCE * config.fps
    return (granted.width, granted.height) == (config.width, config.height) and is_fast_enough


def _distance(granted: Granted, config: CameraConfig) -> tuple[int, float]:
    """Smaller is nearer: the size matters before the rate."""
    pixels = abs(granted.width - config.width) + abs(granted.height - config.height)
    return pixels, max(0.0, config.fps - granted.fps) if granted.fps else 0.0


def _describe(granted: Granted) -> str:
    rate = f"{granted.fps:g} fps" if granted.fps else "a rate that it does not tell"
    return f"{granted.width}x{granted.height} {granted.fourcc} at {rate}"


def cameras_in(folder: Path) -> tuple[str, ...]:
    """The lasting names of the cameras that are there now."""
    try:
        return tuple(sorted(str(entry) for entry in folder.iterdir()))
    except OSError:
        return ()


def check_device(path: str, known: Sequence[str]) -> None:
    """Find out why a device would not open, before OpenCV fails without a reason.

    Raises:
        CaptureError: it does not exist, may not be opened, or is no camera.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CaptureError(explain_refusal(path, error, known)) from error
    try:
        answer = fcntl.ioctl(descriptor, _QUERYCAP, bytes(_CAPABILITY.size))
    except OSError as error:
        raise CaptureError(f"{path}: expected a video device, found something else ({error.strerror})") from error
    finally:
        os.close(descriptor)
    check_capability(path, answer)


def explain_refusal(path: str, error: OSError, known: Sequence[str]) -> str:
    """Why `open` was refused, and what a technician can do about it."""
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        there = ", ".join(known) if known else "none"
        return f"{path}: no such camera; cameras found: {there}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: permission denied: the service's user must be in the group video"
    if error.errno == errno.EBUSY:
        return f"{path}: busy: another program has it (`fuser -v {path}` names it)"
    return f"{path}: cannot be opened: {error.strerror}"


def check_capability(path: str, answer: bytes) -> None:
    """Refuse what is no camera: a Raspberry Pi has a dozen /dev/video nodes of codecs and image processors.

    Raises:
        CaptureError: the node does not capture.
    """
    _driver, card, _bus, _version, capabilities, device_capabilities = _CAPABILITY.unpack(answer)
    flags = device_capabilities if capabilities & _CAP_DEVICE_CAPS else capabilities
    if not flags & _CAP_VIDEO_CAPTURE:
        name = card.split(b"\0")[0].decode(errors="replace")
        raise CaptureError(f"{path}: expected a camera, found {name!r}, which does not capture pictures")
