"""The pixel formats of cameras and their decoding into BGR pictures.

Owns what bytes mean: YUYV and Motion JPEG, and how far a JPEG may be reduced while it is decoded. Leaves where bytes
come from to the sources. Guarantees that a torn frame raises and is never passed on as a half-grey picture.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.errors import CaptureError

Picture = npt.NDArray[np.uint8]
"""A decoded frame: uint8 [height, width, 3], BGR."""

Size = tuple[int, int]
"""(width, height) in pixels."""

_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
)
_ENOUGH = 0.8
"""The share of each side that a reduced picture must have: docs/decisions/0031 says what a fifth less costs."""
_END_OF_IMAGE = b"\xff\xd9"
_TRAILER_BYTES = 1024
"""Cameras pad a JPEG with zeros, some with a little rubbish; the end of a thumbnail in the head must not count."""
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN = 0xDA
_NOT_FRAME_HEADERS = frozenset({0xC4, 0xC8, 0xCC})
"""Of the markers 0xC0 to 0xCF these three do not begin a frame (ITU-T T.81, table B.1)."""


def fourcc_name(code: float) -> str:
    """The four letters of a V4L2 or AVI code as OpenCV returns it, `?` for what cannot be printed."""
    number = int(code) & 0xFFFFFFFF
    letters = (chr(number >> shift & 0xFF) for shift in (0, 8, 16, 24))
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in letters)


def decode_yuyv(buffer: npt.NDArray[np.uint8], dst: Picture) -> Picture:
    """Convert one YUYV (YUV 4:2:2, BT.601 limited range) frame into `dst`, whose shape gives its size.

    Raises:
        CaptureError: the buffer is too short or too long for that size (a torn frame).
    """
    height, width = dst.shape[:2]
    if buffer.size != height * width * 2:
        raise CaptureError(
            f"YUYV frame: expected {height * width * 2} bytes for {width}x{height}, found {buffer.size} (torn)"
        )
    return _as_picture(cv2.cvtColor(buffer.reshape(height, width, 2), cv2.COLOR_YUV2BGR_YUYV, dst=dst))


def decode_mjpeg(jpeg: npt.NDArray[np.uint8], min_size: Size) -> Picture:
    """Decode one JPEG, at the smallest of 1/1, 1/2, 1/4 and 1/8 scale that is enough for `min_size`.

    The reduction happens in libjpeg's inverse DCT, so it averages, and saves most of the work. Returns a new array:
    OpenCV's decoder does not take a destination.

    Raises:
        CaptureError: not a JPEG, or torn.
    """
    data = jpeg.tobytes()
    width, height = jpeg_size(data)
    end = data.rfind(_END_OF_IMAGE)
    if end < 0 or len(data.rstrip(b"\0")) - end > _TRAILER_BYTES:
        raise CaptureError(f"JPEG frame of {len(data)} bytes: expected an end marker, found none (torn)")
    flags = _flags_for((width, height), min_size)
    try:
        picture = cv2.imdecode(jpeg.reshape(-1), flags)
    except cv2.error as error:
        raise CaptureError(f"JPEG frame of {len(data)} bytes cannot be decoded: {error}") from error
    if picture is None:
        raise CaptureError(f"JPEG frame of {len(data)} bytes, {width}x{height}, cannot be decoded (torn)")
    return _as_picture(picture)


def jpeg_reduction(size: Size, min_size: Size) -> int:
    """The divisor (1, 2, 4 or 8) at which a JPEG of `size` has at least four fifths of each side of `min_size`."""
    for divisor, _flag in _REDUCED:
        # libjpeg rounds a reduced size up.
        if all(-(-side // divisor) >= _ENOUGH * least for side, least in zip(size, min_size, strict=True)):
            return divisor
    return 1


def jpeg_size(data: bytes) -> Size:
    """Width and height as the frame header (SOF) says, without decoding.

    Raises:
        CaptureError: no JPEG, or torn before the header.
    """
    if data[:2] != b"\xff\xd8":
        raise CaptureError(f"JPEG frame: expected ff d8 at its start, found {data[:2].hex(' ') or 'nothing'}")
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF or marker in _MARKERS_WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _START_OF_SCAN:
            break
        if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS and position + 9 <= len(data):
            height, width = (int.from_bytes(data[position + at : position + at + 2], "big") for at in (5, 7))
            if width and height:
                return width, height
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise CaptureError(f"JPEG frame of {len(data)} bytes: expected a frame header with a size, found none (torn)")


def _flags_for(size: Size, min_size: Size) -> int:
    flag = dict(_REDUCED).get(jpeg_reduction(size, min_size), cv2.IMREAD_COLOR)
    # How the picture is turned is the configuration's to say, not an EXIF tag's.
    return flag | cv2.IMREAD_IGNORE_ORIENTATION


def _as_picture(array: npt.NDArray[np.generic]) -> Picture:
    """cv2's stubs do not know that these calls keep uint8."""
    return array.view(np.uint8)
