"""What shows the last seconds' detections, for a second opinion: kept in memory, redacted when it is asked for.

Owns the crops and their bounds: so many bytes, so many seconds, so many of one frame. Pictures come in after the
privacy masks, so a masked area is black in a crop too. Guarantees: without a configuration, and until it is turned on,
nothing is kept and every question is answered with NoCrop; what leaves is one JPEG below the configured size, scaled
down, with the heads of chosen classes blurred, and without any metadata.

The inference thread keeps, which is a copy of a few rows; the talk thread redacts and compresses.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edgeapp.config import CropConfig
from edgeapp.types import Box, Detection
from edgeapp.vision import protocol
from edgeapp.vision.formats import Picture

KEPT_NS = 6_000_000_000
KEPT_BYTES = 16 * 1024 * 1024
_OF_ONE_FRAME = 8
_HEAD_SHARE = 1 / 3  # of the box's height, from above
_BLUR_SHARE = 0.5  # the blurred part becomes this coarse: two blocks across a head
_QUALITIES = (85, 70, 55, 40, 25)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A box with its margin, as it was: uint8 [height, width, 3], BGR.

    `head` is the part of it to be blurred, in pixels: top, bottom, left, right; None for nothing.
    """

    pixels: Picture
    head: tuple[int, int, int, int] | None
    at_ns: int


class CropStore:
    """The crops of one vision process. One thread keeps, another turns and asks."""

    def __init__(self, config: CropConfig | None) -> None:
        """Without `config` it can never be turned on."""
        self._config = config
        self._kept: OrderedDict[tuple[int, int], _Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._is_on = False

    @property
    def is_on(self) -> bool:
        """Whether anything is to be kept."""
        return self._is_on

    def turn(self, *, is_on: bool) -> None:
        """Keep crops from now on, or forget all and keep none."""
        with self._lock:
            self._is_on = is_on and self._config is not None
            if not self._is_on:
                self._kept.clear()
                self._bytes = 0

    def keep(
        self, picture: Picture, frame_id: int, detections: Sequence[Detection], classes: Sequence[str], now_ns: int
    ) -> None:
        """Keep what shows the least sure detections of a frame; the oldest crops make room."""
        if self._config is None:
            return
        places = sorted(range(len(detections)), key=lambda place: detections[place].score)[:_OF_ONE_FRAME]
        cut = {(frame_id, place): self._cut(picture, detections[place], classes, now_ns) for place in places}
        with self._lock:
            if not self._is_on:
                return
            for key, crop in cut.items():
                if crop is not None:
                    self._kept[key] = crop
                    self._bytes += crop.pixels.nbytes
            self._drop_old(now_ns)

    def answer(self, asked: protocol.AskCrop, now_ns: int) -> protocol.Crop | protocol.NoCrop:
        """The crop as it may leave. It is given once."""
        key = asked.frame_id, asked.index
        with self._lock:
            self._drop_old(now_ns)
            crop = self._kept.pop(key, None)
            if crop is not None:
                self._bytes -= crop.pixels.nbytes
        jpeg = None if crop is None or self._config is None else redacted(crop.pixels, crop.head, self._config)
        return protocol.NoCrop(frame_id=key[0], index=key[1]) if jpeg is None else protocol.Crop(*key, jpeg)

    def _cut(self, picture: Picture, detection: Detection, classes: Sequence[str], now_ns: int) -> _Kept | None:
        config = self._config
        assert config is not None, "only a configured store keeps"
        height, width = picture.shape[:2]
        top, bottom, left, right = _pixels(detection.box.widened(config.margin_pct / 100), height, width)
        pixels = picture[top:bottom, left:right].copy()
        if not pixels.size or pixels.nbytes > KEPT_BYTES:
            return None
        head = None
        if classes[detection.class_index] in config.blur_heads:
            box = detection.box
            upper = Box(box.x_min, box.y_min, box.x_max, box.y_min + _HEAD_SHARE * box.height)
            above = upper.widened(_HEAD_SHARE / 2)  # boxes are not exact
            rows = _pixels(above, height, width)
            head = rows[0] - top, rows[1] - top, rows[2] - left, rows[3] - left
        return _Kept(pixels, head, now_ns)

    def _drop_old(self, now_ns: int) -> None:
        while self._kept:
            key, oldest = next(iter(self._kept.items()))
            if self._bytes <= KEPT_BYTES and now_ns - oldest.at_ns <= KEPT_NS:
                return
            del self._kept[key]
            self._bytes -= oldest.pixels.nbytes


def redacted(pixels: Picture, head: tuple[int, int, int, int] | None, config: CropConfig) -> bytes | None:
    """A JPEG of at most `max_kb`, with the head's rows and columns blurred; None where it cannot be so small."""
    if head is not None:
        _blur(pixels, *head)
    height, width = pixels.shape[:2]
    scale = min(1.0, config.max_side_px / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    for quality in _QUALITIES:
        jpeg: bytes = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(jpeg) <= config.max_kb * 1000:
            return jpeg
    return None


def _blur(pixels: Picture, top: int, bottom: int, left: int, right: int) -> None:
    """Make blocks of it, each as large as half of its shorter side: what is gone cannot be sharpened again."""
    part = pixels[max(0, top) : bottom, max(0, left) : right]
    if not part.size:
        return
    height, width = part.shape[:2]
    block = max(1.0, _BLUR_SHARE * min(height, width))
    coarse = cv2.resize(part, (math.ceil(width / block), math.ceil(height / block)), interpolation=cv2.INTER_AREA)
    part[:] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)


def _pixels(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what a box touches."""
    return (
        max(0, math.floor(box.y_min * height)),
        min(height, math.ceil(box.y_max * height)),
        max(0, math.floor(box.x_min * width)),
        min(width, math.ceil(box.x_max * width)),
    )
