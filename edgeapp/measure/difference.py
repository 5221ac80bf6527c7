"""Compares two profiles, pure: ratios with their intervals; what lies inside its interval is no difference.

The interval of a ratio is put together from those of its parts, on a logarithmic scale. It tells the noise of one run
each; two runs on another day, in another heat, may differ by more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgeapp.measure.figures import LOWER_IS_BETTER, Figure, Profile
from edgeapp.measure.verdict import value, words


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure in both. `ratio` is second / first, with its 95 % interval where both have one; else `no interval`."""

    name: str
    first: float
    second: float
    ratio: float | None
    low: float | None
    high: float | None
    answer: Literal["better", "worse", "same", "no interval"]


def compare(first: Profile, second: Profile) -> tuple[Difference, ...]:
    """The figures that both have."""
    return tuple(
        _difference(name, first.figures[name], second.figures[name]) for name in first.figures if name in second.figures
    )


def _difference(name: str, first: Figure, second: Figure) -> Difference:
    if first.value <= 0 or second.value <= 0:
        return Difference(name, first.value, second.value, None, None, None, "no interval")
    ratio = second.value / first.value
    lower, upper = _half(first, -1), _half(first, 1)
    below, above = _half(second, -1), _half(second, 1)
    if lower is None or upper is None or below is None or above is None:
        return Difference(name, first.value, second.value, ratio, None, None, "no interval")
    low, high = ratio * math.exp(-math.hypot(below, upper)), ratio * math.exp(math.hypot(above, lower))
    if low <= 1 <= high:
        return Difference(name, first.value, second.value, ratio, low, high, "same")
    is_better = (ratio < 1) == name.endswith(LOWER_IS_BETTER)
    return Difference(name, first.value, second.value, ratio, low, high, "better" if is_better else "worse")


def _half(figure: Figure, side: int) -> float | None:
    """How far the interval reaches to one side, on a logarithmic scale."""
    edge = figure.low if side < 0 else figure.high
    if edge is None or edge <= 0:
        return None
    return abs(math.log(edge / figure.value))


def text(first: Profile, second: Profile, differences: tuple[Difference, ...]) -> str:
    """The table that a person reads."""
    names = [f"{each.subject.model.name} {each.subject.model.version}" for each in (first, second)]
    rows = [f"{'':<28}{names[0][-20:]:>22}{names[1][-20:]:>22}   ratio (95 % interval)"]
    for each in differences:
        shown = f"{each.ratio:.2f}" if each.ratio is not None else "–"
        if each.low is not None:
            shown += (
                f" ({each.low:.2f} to {each.high:.2f})  {'no difference' if each.answer == 'same' else each.answer}"
            )
        label, *both = words(each.name), value(each.name, each.first), value(each.name, each.second)
        rows.append(f"{label:<28}{both[0]:>22}{both[1]:>22}   {shown}")
    if first.subject.board != second.subject.board:
        rows.append(f"The boards differ: {first.subject.board}, and {second.subject.board}.")
    return "\n".join(rows)
