"""Draws runs: one small panel per scenario, temperature and rate over time, with OpenCV alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.fakes.thermal.controllers import TARGET_C
from tests.fakes.thermal.lab import PERIOD_S, Run
from tests.fakes.thermal.oracle import Optimum
from tests.fakes.thermal.plant import THROTTLE_FROM_C, Floats

_COLUMNS = 4
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _HEAD = 400, 170, 56, 52, 70
_LOW_C, _HIGH_C = 20.0, 90.0
_BLACK, _GREY, _RED, _BLUE = (0, 0, 0), (150, 150, 150), (40, 40, 210), (190, 100, 20)
_LIGHT, _ORANGE = (225, 225, 225), (60, 150, 240)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SMOOTH = 15  # periods: half a minute


def draw(path: Path, runs: Sequence[Run], optimum: Optimum) -> None:
    """Draw runs, in the oracle's order, into a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    rows = -(-len(runs) // _COLUMNS)
    size = (_HEAD + rows * (_HEIGHT + _GAP_Y) + 10, _COLUMNS * (_WIDTH + _GAP_X) + _GAP_X, 3)
    canvas: cv2.typing.MatLike = np.full(size, 255, np.uint8)
    _text(canvas, "The thermal governor on simulated boards, 60 minutes each", (_GAP_X, 26), _BLACK, 0.7)
    for x, colour, words in (
        (_GAP_X, _RED, "die, deg C (left axis)"),
        (_GAP_X + 210, _BLUE, "frames per second (right axis)"),
        (_GAP_X + 480, _GREY, "the oracle's"),
        (_GAP_X + 620, _ORANGE, f"target {TARGET_C:g} and limit {THROTTLE_FROM_C:g} deg C"),
    ):
        _text(canvas, words, (x, 50), colour, 0.5)
    for index, run in enumerate(runs):
        row, column = divmod(index, _COLUMNS)
        corner = (_GAP_X + column * (_WIDTH + _GAP_X), _HEAD + 18 + row * (_HEIGHT + _GAP_Y))
        _panel(canvas, corner, run, optimum.frames_by_period[:, index] / PERIOD_S)
    if not cv2.imwrite(str(path), canvas):
        raise OSError(f"{path}: the picture cannot be written")


def _panel(canvas: cv2.typing.MatLike, corner: tuple[int, int], run: Run, best_fps: Floats) -> None:
    left, top = corner
    name = run.scenario.name.replace("°", "deg ")
    _text(canvas, f"{name}: {100 * run.frames / best_fps.sum() / PERIOD_S:.1f} %", (left, top - 6), _BLACK, 0.48)
    for temp_c, colour in (
        (20.0, _LIGHT),
        (40.0, _LIGHT),
        (60.0, _LIGHT),
        (TARGET_C, _ORANGE),
        (THROTTLE_FROM_C, _ORANGE),
    ):
        y = top + round(_HEIGHT * (_HIGH_C - temp_c) / (_HIGH_C - _LOW_C))
        cv2.line(canvas, (left, y), (left + _WIDTH, y), colour, 1)
        if temp_c != THROTTLE_FROM_C:
            _text(canvas, f"{temp_c:g}", (left - 24, y + 4), _RED, 0.38)
    highest_fps = 1.15 * max(float(best_fps.max()), 1e-9)
    for fps in (0.0, float(best_fps.max())):
        y = top + round(_HEIGHT * (1 - fps / highest_fps))
        _text(canvas, f"{fps:.3g}", (left + _WIDTH + 3, y + 4), _BLUE, 0.38)
    _curve(canvas, corner, _smooth(best_fps) / highest_fps, _GREY, 2)
    _curve(canvas, corner, _smooth(run.frames_by_period / PERIOD_S) / highest_fps, _BLUE, 1)
    _curve(canvas, corner, (run.temp_c - _LOW_C) / (_HIGH_C - _LOW_C), _RED, 1)
    cv2.rectangle(canvas, (left, top), (left + _WIDTH, top + _HEIGHT), _BLACK, 1)
    for minute in (0, 20, 40, 60):
        x = left + round(_WIDTH * minute * 60 / run.seconds)
        if x <= left + _WIDTH:
            _text(canvas, f"{minute}", (x - 6, top + _HEIGHT + 14), _BLACK, 0.38)


def _smooth(values: Floats) -> Floats:
    weights = np.convolve(np.ones_like(values), np.ones(_SMOOTH), mode="same")
    return np.asarray(np.convolve(values, np.ones(_SMOOTH), mode="same") / weights, dtype=np.float64)


def _curve(
    canvas: cv2.typing.MatLike, corner: tuple[int, int], heights: Floats, colour: tuple[int, int, int], width: int
) -> None:
    """A line through values from 0, below, to 1, above."""
    x = corner[0] + np.linspace(0, _WIDTH, len(heights))
    y = corner[1] + _HEIGHT * (1 - np.clip(heights, 0, 1))
    points = np.stack([x, y], axis=1).round().astype(np.int32)
    cv2.polylines(canvas, [points], False, colour, width, cv2.LINE_AA)


def _text(
    canvas: cv2.typing.MatLike, words: str, corner: tuple[int, int], colour: tuple[int, int, int], size: float
) -> None:
    cv2.putText(canvas, words, corner, _FONT, size, colour, 1, cv2.LINE_AA)
