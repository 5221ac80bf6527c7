"""A contact sheet: frames of a video with the boxes that the model finds, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.errors import CaptureError
from edgeapp.types import Detection
from edgeapp.vision.model import Model

_COLUMNS, _ROWS = 3, 4
_TILE_WIDTH = 480
_GREEN, _WHITE, _BLACK = (80, 220, 60), (255, 255, 255), (0, 0, 0)
_GAP = 4

Picture = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]


def draw_contact_sheet(model_dir: Path, video: Path, out: Path) -> None:
    """Write a PNG of frames of `video` with what the model in `model_dir` finds.

    Half of them are evenly spaced over the whole video, half over the frames on which something was found.

    Raises:
        CaptureError: the video cannot be read, or the picture cannot be written.
    """
    model = Model.load(model_dir, delegate="auto", threads=1, min_score=None)
    found = {index: model.predict(picture)[0] for index, picture in _frames(video)}
    hits = [index for index, detections in found.items() if detections]
    half = _COLUMNS * _ROWS // 2
    chosen = _evenly(hits, half)
    chosen |= _evenly([index for index in found if index not in chosen], _COLUMNS * _ROWS - len(chosen))
    tiles = [
        _tile(picture, found[index], model.report.classes, index)
        for index, picture in _frames(video)
        if index in chosen
    ]
    rows = [np.hstack(tiles[start : start + _COLUMNS]) for start in range(0, len(tiles), _COLUMNS)]
    if not cv2.imwrite(str(out), np.vstack(rows)):
        raise CaptureError(f"{out}: the picture cannot be written")


def _evenly(indices: list[int], count: int) -> set[int]:
    """Up to `count` of the indices, evenly spaced."""
    if not indices:
        return set()
    return {indices[round(at)] for at in np.linspace(0, len(indices) - 1, count)}


def _frames(video: Path) -> Iterator[tuple[int, Picture]]:
    capture = cv2.VideoCapture(str(video))
    try:
        index = 0
        while capture.grab():
            yield index, np.asarray(capture.retrieve()[1], dtype=np.uint8)
            index += 1
    finally:
        capture.release()
    if index < _COLUMNS * _ROWS:
        raise CaptureError(f"{video}: expected a video of at least {_COLUMNS * _ROWS} frames, found {index}")


def _tile(picture: Picture, detections: tuple[Detection, ...], classes: tuple[str, ...], index: int) -> Picture:
    height, width = picture.shape[:2]
    tile_height = round(_TILE_WIDTH * height / width)
    tile = np.asarray(cv2.resize(picture, (_TILE_WIDTH, tile_height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    for detection in detections:
        box = detection.box
        corner = (round(box.x_min * _TILE_WIDTH), round(box.y_min * tile_height))
        cv2.rectangle(tile, corner, (round(box.x_max * _TILE_WIDTH), round(box.y_max * tile_height)), _GREEN, 2)
        text = f"{classes[detection.class_index]} {detection.score:.2f}"
        _write(tile, text, (min(corner[0], _TILE_WIDTH - 96), max(14, corner[1] + 14)), _BLACK, on=_GREEN)
    _write(tile, f"frame {index}", (6, tile_height - 8), _WHITE, on=_BLACK)
    return np.asarray(cv2.copyMakeBorder(tile, 0, _GAP, 0, _GAP, cv2.BORDER_CONSTANT, value=_BLACK), dtype=np.uint8)


def _write(tile: Picture, text: str, at: tuple[int, int], colour: Colour, *, on: Colour) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)
    cv2.rectangle(tile, (at[0] - 2, at[1] - height - 3), (at[0] + width + 2, at[1] + 4), on, cv2.FILLED)
    cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
