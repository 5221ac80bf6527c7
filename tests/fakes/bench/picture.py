"""Draws what scripts/bench found: bars over the bare invoke with the asked limits, with OpenCV alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

Canvas = cv2.typing.MatLike
Colour = tuple[int, int, int]

_WHOLE = "whole daemon, raw BGR 640x480"
_ASKED = {
    "raw BGR 640x480": {"cpu_ratio": 1.06},
    _WHOLE: {"cpu_ratio": 1.10},
    "live, capacity left": {"cpu_ratio": 1.25, "p50_ratio": 1.3, "p99_ratio": 2.0},
    "live, overload": {"cpu_ratio": 1.25, "p50_ratio": 1.4, "p99_ratio": 2.0},
}
_ARM_ASKED = {"raw BGR": 1.05, "MJPEG": 1.25}
"""For all models, on all processors."""
_COLUMNS = {"cpu_ratio": "processor time", "p50_ratio": "p50", "p99_ratio": "p99"}
_NAMES, _WIDTH, _GAP, _ROW, _MARGIN = 300, 330, 50, 26, 30
_BLACK, _GREY, _LIGHT, _RED = (30, 30, 30), (140, 140, 140), (225, 225, 225), (40, 40, 210)
_BLUE, _SAND, _GREEN = (180, 110, 40), (120, 170, 205), (90, 150, 60)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ONE = 0.8  # where the axes begin: what is below 1 is the invoke itself


def draw(path: Path, result: dict[str, Any]) -> None:
    """Draw the object that scripts/bench prints into a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    live = {f"live, {name.replace('_', ' ')}": figures for name, figures in result["live"].items()}
    peers = result.get("peers", {})
    rows = {**result["cases"], **live, **peers}
    # Flat out there is always a frame waiting, so its latency is that of the queue.
    rows[_WHOLE] = {"cpu_ratio": rows[_WHOLE]["cpu_ratio"]}
    arm: dict[str, dict[str, float]] = result.get("arm", {})
    cases = [case for case in next(iter(arm.values()), {}) if not case.endswith("floor")]
    height = 130 + _ROW * len(rows) + (110 + _ROW * len(cases) if arm else 0)
    canvas: Canvas = np.full((height, _MARGIN + _NAMES + 3 * (_WIDTH + _GAP), 3), 255, np.uint8)
    _text(canvas, "edgeapp over a loop that only calls invoke(), in the same run", (_MARGIN, 34), _BLACK, 0.75)
    switch = result["switch"]
    facts = (
        f"bare invoke {result['invoke_ms']:.2f} ms",
        f"memory {result['pss_mb']:.0f} MB",
        f"idle {result['idle_cpu_pct']:.1f} % of a core",
        f"start {result['start_ratio']:.1f} x",
        f"a frame without motion {result['no_motion_ratio']:.3f}",
        f"{switch['count']} switches: {switch['lost']} frames lost, gap {switch['worst_gap_periods']:.2f} periods",
    )
    _text(canvas, "   ".join(facts), (_MARGIN, 58), _GREY, 0.45)
    _legend(canvas, (_MARGIN, 82), {"asked at most": _RED, "ours": _BLUE, "others": _SAND if peers else _LIGHT})
    for column, (key, title) in enumerate(_COLUMNS.items()):
        left = _MARGIN + _NAMES + column * (_WIDTH + _GAP)
        shown = {name: figures[key] for name, figures in rows.items() if key in figures}
        highest = 1.08 * max(shown.values())
        _axis(canvas, (left, 110), len(rows), highest, title)
        for row, name in enumerate(rows):
            if name in shown:
                colour, asked = _SAND if name in peers else _BLUE, _ASKED.get(name, {}).get(key)
                _bar(canvas, (left, 110 + _ROW * row), shown[name], highest, colour, asked)
    _row_names(canvas, list(rows), 110)
    if arm:
        _draw_arm(canvas, 110 + _ROW * len(rows) + 50, arm, cases)
    if not cv2.imwrite(str(path), canvas):
        raise OSError(f"{path}: the picture cannot be written")


def _draw_arm(canvas: Canvas, top: int, arm: dict[str, dict[str, float]], cases: list[str]) -> None:
    _text(canvas, "Instructions of the real aarch64 wheels, 640x480", (_MARGIN, top), _BLACK, 0.6)
    legend = {"asked at most": _RED, "ours": _BLUE, "native calls alone (floor)": _GREEN}
    _legend(canvas, (_MARGIN, top + 24), legend)
    top += 54
    highest = 1.08 * max(max(ratios.values()) for ratios in arm.values())
    for column, (cpu, ratios) in enumerate(arm.items()):
        left = _MARGIN + _NAMES + column * (_WIDTH + _GAP)
        _axis(canvas, (left, top), len(cases), highest, cpu)
        for row, case in enumerate(cases):
            corner = (left, top + _ROW * row)
            _bar(canvas, corner, ratios[case], highest, _BLUE, _ARM_ASKED.get(case.rpartition(", ")[2]))
            floor = _x(left, ratios[f"{case}, floor"], highest)
            cv2.rectangle(canvas, (left, corner[1] + 13), (floor, corner[1] + 18), _GREEN, -1)
    _row_names(canvas, cases, top)


def _axis(canvas: Canvas, corner: tuple[int, int], rows: int, highest: float, title: str) -> None:
    left, top = corner
    _text(canvas, title, (left, top - 10), _BLACK, 0.5)
    step = next(step for step in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0) if (highest - _ONE) / step < 8)
    for index in range(1 + int((highest - 1) / step)):
        x = _x(left, 1 + index * step, highest)
        cv2.line(canvas, (x, top), (x, top + _ROW * rows), _GREY if index == 0 else _LIGHT, 1)
        _text(canvas, f"{1 + index * step:.1f}", (x - 10, top + _ROW * rows + 14), _GREY, 0.38)


def _bar(
    canvas: Canvas, corner: tuple[int, int], value: float, highest: float, colour: Colour, asked: float | None
) -> None:
    left, top = corner
    right = max(_x(left, value, highest), left + 1)
    cv2.rectangle(canvas, (left, top + 5), (right, top + _ROW - 6), colour, -1)
    shift = 4
    if asked is not None:
        x = _x(left, asked, highest)
        cv2.line(canvas, (x, top + 1), (x, top + _ROW - 2), _RED, 2)
        shift = 4 if x < right or x > right + 40 else x - right + 4
    _text(canvas, f"{value:.3f}", (right + shift, top + _ROW - 9), _BLACK, 0.38)


def _x(left: int, value: float, highest: float) -> int:
    return left + round((_WIDTH - 40) * (min(value, highest) - _ONE) / (highest - _ONE))


def _row_names(canvas: Canvas, names: list[str], top: int) -> None:
    for row, name in enumerate(names):
        _text(canvas, name, (_MARGIN, top + _ROW * row + _ROW - 9), _BLACK, 0.45)


def _legend(canvas: Canvas, corner: tuple[int, int], words: dict[str, Colour]) -> None:
    x, y = corner
    for word, colour in words.items():
        cv2.rectangle(canvas, (x, y - 9), (x + 14, y + 1), colour, -1)
        _text(canvas, word, (x + 20, y), _BLACK, 0.42)
        x += 50 + 8 * len(word)


def _text(canvas: Canvas, words: str, place: tuple[int, int], colour: Colour, size: float) -> None:
    cv2.putText(canvas, words, place, _FONT, size, colour, 1, cv2.LINE_AA)
