"""A USB camera as OpenCV's V4L2 capture shows it: a table of modes, raw frames of real YUYV and JPEG bytes."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

Modes = Mapping[tuple[str, int, int], float]
"""What the camera can do: (fourcc, width, height) → the highest frames per second."""


class UvcCamera:
    """Grants what it can. Asked for a size that it has not, it takes the largest of its own for that format."""

    def __init__(self, modes: Modes, picture: Bytes) -> None:
        self._modes = modes
        self._picture = picture
        self._fourcc, self._width, self._height = next(iter(modes))
        self._wanted_fps = 30.0
        self._converts = True
        self._wanted_size = (self._width, self._height)
        self.torn_bytes = 0
        self.is_released = False

    def get(self, propId: int, /) -> float:
        return {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*self._fourcc)),
            cv2.CAP_PROP_FRAME_WIDTH: float(self._width),
            cv2.CAP_PROP_FRAME_HEIGHT: float(self._height),
            cv2.CAP_PROP_FPS: min(self._wanted_fps, self._modes[self._fourcc, self._width, self._height]),
        }[propId]

    def set(self, propId: int, value: float, /) -> bool:
        if propId == cv2.CAP_PROP_CONVERT_RGB:
            self._converts = bool(value)
        elif propId == cv2.CAP_PROP_FOURCC:
            letters = int(value).to_bytes(4, "little").decode()
            if any(fourcc == letters for fourcc, _, _ in self._modes):
                self._fourcc = letters
        elif propId == cv2.CAP_PROP_FRAME_WIDTH:
            self._wanted_size = (int(value), self._wanted_size[1])
        elif propId == cv2.CAP_PROP_FRAME_HEIGHT:
            self._wanted_size = (self._wanted_size[0], int(value))
        elif propId == cv2.CAP_PROP_FPS:
            self._wanted_fps = value
        sizes = [(width, height) for fourcc, width, height in self._modes if fourcc == self._fourcc]
        self._width, self._height = self._wanted_size if self._wanted_size in sizes else max(sizes)
        return True

    def grab(self) -> bool:
        return not self.is_released

    def retrieve(self, image: Bytes | None = None, /) -> tuple[bool, Bytes]:
        assert not self._converts, "OpenCV would convert every frame by itself"
        picture = cv2.resize(self._picture, (self._width, self._height)).view(np.uint8)
        raw = encode_jpeg(picture) if self._fourcc == "MJPG" else encode_yuyv(picture)
        return True, raw.reshape(-1)[: raw.size - self.torn_bytes][None]

    def release(self) -> None:
        self.is_released = True


def encode_yuyv(picture: Bytes) -> Bytes:
    """BGR [height, width, 3] to YUYV [height, width, 2]; BT.601, limited range (ITU-R BT.601-7)."""
    blue, green, red = (picture[..., channel].astype(np.float64) for channel in range(3))
    luma = 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255
    blue_difference = 128 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255
    red_difference = 128 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255
    raw = np.empty((*picture.shape[:2], 2))
    raw[..., 0] = luma
    raw[:, 0::2, 1] = (blue_difference[:, 0::2] + blue_difference[:, 1::2]) / 2
    raw[:, 1::2, 1] = (red_difference[:, 0::2] + red_difference[:, 1::2]) / 2
    return np.rint(raw).clip(0, 255).astype(np.uint8)


def encode_jpeg(picture: Bytes, quality: int = 95) -> Bytes:
    """One JPEG, uint8 [bytes]."""
    is_encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_encoded
    return data.reshape(-1).view(np.uint8)
