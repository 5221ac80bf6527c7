"""Geometry of detections, pure: anchor grids, box coding, suppression of doubles, the way back to the picture.

Boxes are rows of y_min, x_min, y_max, x_max in shares of the network's input. `Placement` says where in that input
the picture lies; the last step brings boxes back to shares of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeapp.types import Box, Detection

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeapp.manifest import SsdAnchors

_MAX_LOG_SIZE = 10.0  # a box 22 000 times its anchor: keeps exp() of an absurd output from overflowing
_MAX_CANDIDATES = 1000  # the best ones enter the suppression, so that a model gone mad costs milliseconds, not seconds
_LOWEST_LAYER_SCALE = 0.1  # ssd_anchor_generator: the small square box of the lowest layer


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the picture lies in the network's input, in shares of the input: its corner and its size.

    Stretched pictures fill the input; letterboxed ones leave grey bars.
    """

    offset_x: float = 0.0
    offset_y: float = 0.0
    scale_x: float = 1.0
    scale_y: float = 1.0


STRETCHED = Placement()


def anchor_count(anchors: SsdAnchors) -> int:
    """How many anchors `make_anchors` gives."""
    per_cell = [len(_cell_shapes(anchors, layer)) for layer in range(len(anchors.layers))]
    return sum(size * size * count for size, count in zip(anchors.layers, per_cell, strict=True))


def make_anchors(anchors: SsdAnchors) -> npt.NDArray[np.float32]:
    """The anchor grid: float32 [anchors, 4] of centre y, centre x, height, width in shares of the input.

    Ordered by layer, then row, then column, then shape. The formula is TensorFlow Object Detection's
    `create_ssd_anchors` (anchor_generators/multiple_grid_anchor_generator.py) for a square input.
    """
    layers = []
    for layer, size in enumerate(anchors.layers):
        shapes = np.array(_cell_shapes(anchors, layer), np.float64)
        centres = (np.arange(size) + 0.5) / size
        grid = np.empty((size, size, len(shapes), 4), np.float64)
        grid[..., 0] = centres[:, None, None]
        grid[..., 1] = centres[None, :, None]
        root = np.sqrt(shapes[:, 1])
        grid[..., 2] = shapes[:, 0] / root
        grid[..., 3] = shapes[:, 0] * root
        layers.append(grid.reshape(-1, 4))
    return np.concatenate(layers).astype(np.float32)


def _cell_shapes(anchors: SsdAnchors, layer: int) -> list[tuple[float, float]]:
    """(scale, width / height) of every anchor in one cell of a layer."""
    scales = [*_layer_scales(anchors), 1.0]
    scale = scales[layer]
    if layer == 0 and anchors.reduce_lowest:
        return [(_LOWEST_LAYER_SCALE, 1.0), (scale, 2.0), (scale, 0.5)]
    extra = math.sqrt(scale * scales[layer + 1])
    return [*((scale, ratio) for ratio in anchors.aspect_ratios), (extra, 1.0)]


def _layer_scales(anchors: SsdAnchors) -> list[float]:
    count = len(anchors.layers)
    if count == 1:
        return [anchors.min_scale]
    step = (anchors.max_scale - anchors.min_scale) / (count - 1)
    return [anchors.min_scale + step * layer for layer in range(count)]


def decode_ssd(
    codes: npt.NDArray[np.float64], anchors: npt.NDArray[Any], box_scales: tuple[float, ...]
) -> npt.NDArray[np.float64]:
    """Boxes of SSD's codes ty, tx, th, tw [boxes, 4] against their anchors [boxes, 4] (FasterRcnnBoxCoder)."""
    codes = codes / np.array(box_scales)
    centres = codes[:, :2] * anchors[:, 2:] + anchors[:, :2]
    sizes = np.exp(np.minimum(codes[:, 2:], _MAX_LOG_SIZE)) * anchors[:, 2:]
    return corners(centres, sizes)


def corners(centres: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Boxes from centres (y, x) and sizes (height, width)."""
    return np.concatenate((centres - sizes / 2, centres + sizes / 2), axis=1)


def suppress(
    boxes: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    classes: npt.NDArray[np.intp],
    *,
    max_iou: float,
    limit: int,
) -> npt.NDArray[np.intp]:
    """Greedy suppression within each class: row numbers of the kept boxes, best score first, at most `limit`.

    A box goes when it overlaps a better one of its class by more than `max_iou`. Equal scores keep the order of the
    rows, so the result is the same on every run. Only the best 1000 rows take part.
    """
    order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    if len(order) == 1:  # the usual case; nothing to compare it with
        return order
    boxes, classes = boxes[order], classes[order]
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    for row in range(len(order)):
        if not alive[row]:
            continue
        kept.append(row)
        if len(kept) == limit:
            break
        rest = slice(row + 1, None)
        top_left = np.maximum(boxes[row, :2], boxes[rest, :2])
        bottom_right = np.minimum(boxes[row, 2:], boxes[rest, 2:])
        overlap = np.maximum(bottom_right - top_left, 0).prod(axis=1)
        union = areas[row] + areas[rest] - overlap
        alive[rest] &= (overlap <= max_iou * union) | (classes[rest] != classes[row])
    return order[kept]


def to_detections(
    boxes: npt.NDArray[np.float64],
    scores: npt.NDArray[np.float64],
    classes: npt.NDArray[np.intp],
    placement: Placement,
) -> tuple[Detection, ...]:
    """Detections in shares of the picture, clipped to it, in the order given; what lies wholly outside is left out."""
    # Plain numbers: for the few boxes of a frame NumPy would cost more to call than it saves.
    found = []
    for (y_min, x_min, y_max, x_max), score, class_index in zip(
        boxes.tolist(), scores.tolist(), classes.tolist(), strict=True
    ):
        left, right = (_share(x, placement.offset_x, placement.scale_x) for x in (x_min, x_max))
        top, bottom = (_share(y, placement.offset_y, placement.scale_y) for y in (y_min, y_max))
        if right > left and bottom > top:
            found.append(Detection(Box(left, top, right, bottom), score, class_index))
    return tuple(found)


def _share(position: float, offset: float, scale: float) -> float:
    """A position in the input as a share of the picture, clipped to it."""
    return min(max((position - offset) / scale, 0.0), 1.0)
