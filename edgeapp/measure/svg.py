"""Plots as inline SVG, pure: small, printable, and readable without colour or script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 720, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 52, 24, 40
_TICKS = 5
_NICE = (1, 2, 2.5, 5, 10)
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot, against the left axis or, where `is_right`, the right one. `style` is a class of the page."""

    label: str
    points: Points
    style: str
    is_right: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """One thing in a plot of two figures, each (value, low, high). `style` is a class of the page."""

    label: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]
    style: str


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return [self.low + index * self.step for index in range(round((self.high - self.low) / self.step) + 1)]


def _axis(values: Sequence[float], start: float, end: float, *, from_zero: bool = False) -> _Axis:
    """An axis over the values with round ticks."""
    low, high = min(values), max(values)
    low = 0.0 if from_zero else low
    span = max(high - low, abs(high) * 0.1, 1e-6)
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in _NICE if nice * power >= rough * 0.999)
    first = math.floor(low / step) * step
    return _Axis(first, max(math.ceil(high / step) * step, first + step), start, end, step)


def curves(title: str, lines: Sequence[Curve], *, x: str, mark_x: float | None = None) -> str:
    """Lines over a common x axis, with an axis at either side; `mark_x` is where what follows counts as settled."""
    lines = [line for line in lines if line.points]
    across = _axis([at for line in lines for at, _ in line.points], _LEFT, _WIDTH - _RIGHT, from_zero=True)
    sides: list[_Axis | None] = []
    for is_right in (False, True):
        values = [value for line in lines if line.is_right is is_right for _, value in line.points]
        sides.append(_axis(values, _HEIGHT - _BOTTOM, _TOP, from_zero=not is_right) if values else None)
    parts = _frame(across, sides[0], sides[1], x)
    if mark_x is not None:
        at = across.at(mark_x)
        parts.append(
            f'<rect class="settled" x="{at:.1f}" y="{_TOP}" width="{max(_WIDTH - _RIGHT - at, 0):.1f}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}"/>'
            f'<text class="tick" x="{at + 4:.1f}" y="{_TOP + 12}">settled</text>'
        )
    for line in lines:
        axis = sides[line.is_right]
        if axis is not None:
            path = " ".join(f"{across.at(at):.1f},{axis.at(value):.1f}" for at, value in line.points)
            parts.append(f'<polyline class="curve {line.style}" points="{path}"/>')
    for index, line in enumerate(lines):
        at = _LEFT + 4 + index * 165
        parts.append(f'<line class="curve {line.style}" x1="{at}" y1="10" x2="{at + 22}" y2="10"/>')
        parts.append(f'<text class="key" x="{at + 28}" y="14">{escape(line.label)}</text>')
    return _svg(title, parts)


def bars(
    title: str, counts: Sequence[int], *, low: float, step: float, x: str, marks: Sequence[tuple[str, float]]
) -> str:
    """A histogram; `marks` are values to be named on it."""
    end = low + step * len(counts)
    across = _axis([low, end], _LEFT, _WIDTH - _RIGHT)
    up = _axis([0, max(counts)], _HEIGHT - _BOTTOM, _TOP, from_zero=True)
    parts = _frame(across, up, None, x)
    for index, count in enumerate(counts):
        left, right, top = across.at(low + index * step), across.at(low + (index + 1) * step), up.at(count)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
            f'height="{_HEIGHT - _BOTTOM - top:.1f}"/>'
        )
    for index, (name, value) in enumerate(marks):
        if value > end:
            continue
        at = across.at(value)
        parts.append(f'<line class="mark" x1="{at:.1f}" y1="{_TOP}" x2="{at:.1f}" y2="{_HEIGHT - _BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{at + 4:.1f}" y="{_TOP + 10 + 13 * index}">{escape(name)}</text>')
    return _svg(title, parts)


def spots(
    title: str, things: Sequence[Spot], *, x: str, y: str, limits: tuple[float | None, float], line: Points
) -> str:
    """Things by two figures, with their intervals; `limits` are what x may be at most and y at least.

    `line` joins those that no other beats in both.
    """
    most_x, least_y = limits
    across = _axis(
        [0.0, *(thing.x[2] for thing in things), *([most_x] if most_x is not None else [])], _LEFT, _WIDTH - _RIGHT
    )
    up = _axis([least_y, *(end for thing in things for end in thing.y)], _HEIGHT - _BOTTOM, _TOP)
    parts = _frame(across, up, None, x)
    floor = up.at(least_y)
    right = _WIDTH - _RIGHT if most_x is None else across.at(most_x)
    parts.append(
        f'<rect class="settled" x="{_LEFT}" y="{_TOP}" width="{right - _LEFT:.1f}" height="{floor - _TOP:.1f}"/>'
    )
    if len(line) > 1:
        path = " ".join(f"{across.at(at):.1f},{up.at(value):.1f}" for at, value in line)
        parts.append(f'<polyline class="curve clock" points="{path}"/>')
    for thing in things:
        (at, left, end), (height, low, high) = map(across.at, thing.x), map(up.at, thing.y)
        parts.append(
            f'<line class="curve {thing.style}" x1="{left:.1f}" y1="{height:.1f}" x2="{end:.1f}" y2="{height:.1f}"/>'
        )
        parts.append(f'<line class="curve {thing.style}" x1="{at:.1f}" y1="{low:.1f}" x2="{at:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class="curve {thing.style}" cx="{at:.1f}" cy="{height:.1f}" r="4"/>')
        anchor, shift = ("start", 8) if at < _WIDTH * 2 / 3 else ("end", -8)
        parts.append(
            f'<text class="key" text-anchor="{anchor}" x="{at + shift:.1f}" y="{height - 7:.1f}">'
            f"{escape(thing.label)}</text>"
        )
    parts.append(f'<text class="key" x="{_LEFT}" y="14">{escape(y)}</text>')
    return _svg(title, parts)


def _frame(across: _Axis, left: _Axis | None, right: _Axis | None, x: str) -> list[str]:
    """The grid, the ticks, and the name of the x axis."""
    bottom, parts = _HEIGHT - _BOTTOM, []
    for value in across.ticks():
        at = across.at(value)
        parts.append(f'<text class="tick" text-anchor="middle" x="{at:.1f}" y="{bottom + 16}">{value:g}</text>')
    for axis, edge, anchor in ((left, _LEFT, "end"), (right, _WIDTH - _RIGHT, "start")):
        if axis is None:
            continue
        shift = -6 if anchor == "end" else 6
        for value in axis.ticks():
            y = axis.at(value)
            if axis is left:
                parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>')
            parts.append(
                f'<text class="tick" text-anchor="{anchor}" x="{edge + shift}" y="{y + 4:.1f}">{value:g}</text>'
            )
    parts.append(f'<text class="tick" text-anchor="middle" x="{_WIDTH / 2}" y="{_HEIGHT - 6}">{escape(x)}</text>')
    return parts


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
