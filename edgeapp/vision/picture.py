"""What happens to a frame before anything else sees it: privacy masks, crop, rotation, mirroring, and a thumbnail.

Owns the geometry between the sensor and the picture as a technician sees it. Masks, lines and zones are all shares of
that final picture: after rotation, mirroring and crop. Guarantees that masked pixels are black in the retrieved
buffer itself before anything reads it, so no unmasked copy of the picture outlives `Framing.apply`; and that what is
not configured costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.config import CameraConfig, Polygon
from edgeapp.vision.formats import Picture

THUMBNAIL_SHAPE = (120, 160)
"""Height and width of the luma thumbnail on which motion, black and frozen pictures are judged."""

Luma = npt.NDArray[np.uint8]
"""A luma thumbnail: uint8 [120, 160]."""

_Slices = tuple[slice, slice]
_WHOLE = (0.0, 0.0, 1.0, 1.0)  # x, y, width, height
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways to lay a picture: first transposed, then flipped."""

    transposes: bool
    flips_x: bool
    flips_y: bool

    @property
    def is_identity(self) -> bool:
        return not (self.transposes or self.flips_x or self.flips_y)

    def size_after(self, size: tuple[int, int]) -> tuple[int, int]:
        return (size[1], size[0]) if self.transposes else size

    def size_before(self, size: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) of the picture that this turn makes `size` of; a turn is its own inverse here."""
        return self.size_after(size)

    def do(self, picture: Picture, out: Picture) -> None:
        """Write the turned picture into `out`, which has the turned shape."""
        source = cv2.transpose(picture, dst=out) if self.transposes else picture
        if self.flips_x or self.flips_y:
            code = -1 if self.flips_x and self.flips_y else int(self.flips_x)
            cv2.flip(source, code, dst=out)

    def undo_mask(self, mask: Luma) -> Luma:
        """The same mask as it lies on the picture before the turn."""
        mask = mask[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]
        return np.ascontiguousarray(mask.T if self.transposes else mask)

    def undo_slices(self, rows: slice, columns: slice, size: tuple[int, int]) -> _Slices:
        """Where the rectangle of a turned picture of (width, height) `size` lies on the picture before the turn."""
        if self.flips_x:
            columns = slice(size[0] - columns.stop, size[0] - columns.start)
        if self.flips_y:
            rows = slice(size[1] - rows.stop, size[1] - rows.start)
        return (columns, rows) if self.transposes else (rows, columns)


_ROTATIONS = {
    0: Turn(transposes=False, flips_x=False, flips_y=False),
    90: Turn(transposes=True, flips_x=True, flips_y=False),
    180: Turn(transposes=False, flips_x=True, flips_y=True),
    270: Turn(transposes=True, flips_x=False, flips_y=True),
}
"""Clockwise."""


def turn_of(config: CameraConfig) -> Turn:
    """`rotate_deg` clockwise, then `mirror` (horizontal swaps left and right), as one turn."""
    rotation = _ROTATIONS[config.rotate_deg]
    return Turn(
        transposes=rotation.transposes,
        flips_x=rotation.flips_x != (config.mirror == "horizontal"),
        flips_y=rotation.flips_y != (config.mirror == "vertical"),
    )


def raw_size_for(config: CameraConfig, picture_size: tuple[int, int]) -> tuple[int, int]:
    """The least (width, height) that a source must deliver so that crop and turn leave `picture_size`."""
    _, _, width_share, height_share = config.crop or _WHOLE
    width = math.ceil(picture_size[0] / max(width_share, _LEAST_SHARE))
    height = math.ceil(picture_size[1] / max(height_share, _LEAST_SHARE))
    return turn_of(config).size_before((width, height))


@dataclass(frozen=True, slots=True)
class _Patch:
    """One privacy mask as it lies on the raw picture. `black` is what is copied where `mask` is set."""

    where: _Slices
    mask: Luma
    black: Picture


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that depends on the size of the raw picture, worked out once."""

    raw_shape: tuple[int, ...]
    patches: tuple[_Patch, ...]
    crop: _Slices | None
    shape: tuple[int, int, int]
    visible_share: float
    covered: Luma | None


class Framing:
    """Turns retrieved frames into pictures. Belongs to one thread."""

    def __init__(self, config: CameraConfig) -> None:
        self._crop = config.crop
        self._masks = config.masks
        self._turn = turn_of(config)
        self._plan: _Plan | None = None
        self._turned: Picture = np.empty((0, 0, 3), np.uint8)

    @property
    def visible_share(self) -> float:
        """The share of the last picture that no mask covers."""
        return self._plan.visible_share if self._plan else 1.0

    @property
    def covered(self) -> Luma | None:
        """255 where a mask covers the last picture that `apply` returned, else 0; None without masks."""
        return self._plan.covered if self._plan else None

    def apply(self, raw: Picture) -> Picture:
        """Paint the masks on `raw` in place, then crop and turn.

        Returns a view of `raw` where nothing is turned, else a buffer of this object. Both hold until the next call.
        """
        plan = self._plan
        if plan is None or plan.raw_shape != raw.shape:
            plan = self._plan = self._plan_for(raw.shape)
            self._turned = np.empty((0, 0, 3) if self._turn.is_identity else plan.shape, np.uint8)
        for patch in plan.patches:
            cv2.copyTo(patch.black, patch.mask, raw[patch.where])
        view = raw if plan.crop is None else raw[plan.crop]
        if self._turn.is_identity:
            return view
        self._turn.do(view, self._turned)
        return self._turned

    def _plan_for(self, raw_shape: tuple[int, ...]) -> _Plan:
        full = self._turn.size_after((raw_shape[1], raw_shape[0]))
        rows, columns = self._crop_slices(full)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        covered = np.zeros((size[1], size[0]), np.uint8)
        patches = []
        for polygon in self._masks:
            mask = _raster(polygon, size)
            covered |= mask
            patches.append(self._patch(mask, (columns.start, rows.start), full))
        return _Plan(
            raw_shape=raw_shape,
            patches=tuple(patches),
            crop=None if self._crop is None else self._turn.undo_slices(rows, columns, full),
            shape=(size[1], size[0], 3),
            visible_share=1.0 - float(np.count_nonzero(covered)) / covered.size,
            covered=covered if patches else None,
        )

    def _crop_slices(self, full: tuple[int, int]) -> _Slices:
        x, y, width_share, height_share = self._crop or _WHOLE
        width, height = full
        left, top = min(int(x * width), width - 1), min(int(y * height), height - 1)
        right = min(max(math.ceil((x + width_share) * width), left + 1), width)
        bottom = min(max(math.ceil((y + height_share) * height), top + 1), height)
        return slice(top, bottom), slice(left, right)

    def _patch(self, mask: Luma, origin: tuple[int, int], full: tuple[int, int]) -> _Patch:
        """Cut the mask to the rectangle that it touches and lay it on the raw picture."""
        left, top, width, height = cv2.boundingRect(mask)
        part = self._turn.undo_mask(mask[top : top + height, left : left + width])
        rows = slice(origin[1] + top, origin[1] + top + height)
        columns = slice(origin[0] + left, origin[0] + left + width)
        return _Patch(
            where=self._turn.undo_slices(rows, columns, full),
            mask=part,
            black=np.zeros((*part.shape, 3), np.uint8),
        )


def _raster(polygon: Polygon, size: tuple[int, int]) -> Luma:
    """255 where the polygon covers any part of a pixel, else 0. Errs on the side of covering: one pixel wider."""
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    corners = np.array([(round(x * width - 0.5), round(y * height - 0.5)) for x, y in polygon], np.int32)
    cv2.fillPoly(mask, [corners], (255,))
    cv2.dilate(mask, np.ones((3, 3), np.uint8), dst=mask)
    return mask


class Thumbnail:
    """Makes luma thumbnails. Belongs to one thread.

    Bilinear at a fixed 160×120: it averages four pixels, which halves the sensor's noise against nearest-neighbour
    for twice its cost; a full area average costs six to fifteen times as much.
    """

    def __init__(self) -> None:
        self._small = np.empty((*THUMBNAIL_SHAPE, 3), np.uint8)
        self._luma = np.empty(THUMBNAIL_SHAPE, np.uint8)

    def of(self, picture: Picture) -> Luma:
        """The thumbnail of `picture`: uint8 [120, 160]. It holds until the next call."""
        size = THUMBNAIL_SHAPE[1], THUMBNAIL_SHAPE[0]
        cv2.resize(picture, size, dst=self._small, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(self._small, cv2.COLOR_BGR2GRAY, dst=self._luma)
        return self._luma
