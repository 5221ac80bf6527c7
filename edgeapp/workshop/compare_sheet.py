"""The worst inputs as one picture: what the reference finds in each, and what the edge model finds as it ships."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgeapp.manifest import InputSpec
from edgeapp.types import Detection
from edgeapp.vision.formats import Picture

_COLUMNS, _TILE_WIDTH, _GAP = 3, 400, 4
_GREEN, _ORANGE, _BLACK, _WHITE = (80, 200, 60), (0, 140, 255), (0, 0, 0), (255, 255, 255)
_DASH = 7

Case = tuple[str, Picture, Sequence[Detection], Sequence[Detection]]
"""A title, the picture, what the reference finds and what the edge model finds, in shares of the picture."""


def draw_sheet(cases: Sequence[Case], classes: Sequence[str], min_score: float) -> bytes:
    """A PNG of the cases, three in a row.

    Raises:
        ValueError: there are none.
    """
    if not cases:
        raise ValueError("a sheet: expected cases, found none")
    tiles = [_tile(case, classes, min_score) for case in cases]
    height = max(tile.shape[0] for tile in tiles)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _COLUMNS)
    padded = [cv2.copyMakeBorder(t, 0, height - t.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=_BLACK) for t in tiles]
    rows = [np.hstack(padded[start : start + _COLUMNS]) for start in range(0, len(padded), _COLUMNS)]
    return cv2.imencode(".png", np.vstack(rows))[1].tobytes()


def as_seen(picture: Picture, spec: InputSpec) -> Picture:
    """The picture, with the bars that its input has where that is letterboxed, so that shares of the input fit it."""
    if spec.resize != "letterbox":
        return picture
    height, width = picture.shape[:2]
    scale = max(width / spec.width, height / spec.height)
    down, right = (round((side * scale - have) / 2) for side, have in ((spec.height, height), (spec.width, width)))
    return np.asarray(
        cv2.copyMakeBorder(picture, down, down, right, right, cv2.BORDER_CONSTANT, value=_BLACK), np.uint8
    )


def _tile(case: Case, classes: Sequence[str], min_score: float) -> Picture:
    title, picture, expected, found = case
    height = round(_TILE_WIDTH * picture.shape[0] / picture.shape[1])
    tile = np.asarray(cv2.resize(picture, (_TILE_WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    for detections, colour, is_dashed in ((expected, _GREEN, False), (found, _ORANGE, True)):
        for one in detections:
            _box(tile, one, colour, 2 if one.score >= min_score else 1, is_dashed=is_dashed)
    for line, (detections, colour) in enumerate(((expected, _GREEN), (found, _ORANGE))):
        said = ", ".join(f"{classes[one.class_index]} {one.score:.2f}" for one in detections[:4]) or "nothing"
        _write(tile, said, (6, 16 + 17 * line), _BLACK, colour)
    _write(tile, title, (6, height - 8), _WHITE, _BLACK)
    return np.asarray(cv2.copyMakeBorder(tile, 0, _GAP, 0, _GAP, cv2.BORDER_CONSTANT, value=_WHITE), np.uint8)


def _box(tile: Picture, detection: Detection, colour: tuple[int, int, int], thickness: int, *, is_dashed: bool) -> None:
    height, width = tile.shape[:2]
    box = detection.box
    left, right = (round(min(max(x, 0.0), 1.0) * (width - 1)) for x in (box.x_min, box.x_max))
    top, bottom = (round(min(max(y, 0.0), 1.0) * (height - 1)) for y in (box.y_min, box.y_max))
    if not is_dashed:
        cv2.rectangle(tile, (left, top), (right, bottom), colour, thickness)
        return
    for start in range(left, right, 2 * _DASH):
        for y in (top, bottom):
            cv2.line(tile, (start, y), (min(start + _DASH, right), y), colour, thickness)
    for start in range(top, bottom, 2 * _DASH):
        for x in (left, right):
            cv2.line(tile, (x, start), (x, min(start + _DASH, bottom)), colour, thickness)


def _write(
    tile: Picture, text: str, at: tuple[int, int], colour: tuple[int, int, int], ground: tuple[int, int, int]
) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    cv2.rectangle(tile, (at[0] - 3, at[1] - height - 3), (at[0] + width + 3, at[1] + 4), ground, cv2.FILLED)
    cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
