"""From exact counts to noised ones: the only way on which a number about people leaves this memory.

Owns the drawing of the noise and what is done to a noised count. Leaves to `budget.py` how much noise, to
`contributions.py` that this much is enough. Guarantees: a closed window is noised once, before anything is written or
tried, so that whoever tries again has the noised numbers only. What follows the noise never looks at an exact count.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeapp.telemetry import noise
from edgeapp.telemetry.budget import FamilyRelease, Level, Plan
from edgeapp.telemetry.levels import ClosedWindow

MAX_COUNT = 9_999_999  # beyond what a camera can see in a day; so that every count fits a field of 8 characters


@dataclass(frozen=True, slots=True)
class NoisedFamily:
    """The noised counts of one family, in the order of the plan's cells. None: suppressed."""

    plan: FamilyRelease
    counts: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """What is told of one window. Safe to be written anywhere; `seconds` is how long it was observed."""

    level: Level
    index: int
    seconds: float
    families: tuple[NoisedFamily, ...]


def release(window: ClosedWindow, plan: Plan, *, suppress_below: int) -> Release:
    """Noise every cell of the plan, also those that counted nothing.

    Args:
        suppress_below: noised counts below it are left out; 0 leaves out none.
    """

    def noised(family: FamilyRelease) -> NoisedFamily:
        counts = [window.counts.of(family.family, cell) + noise.discrete_laplace(family.scale) for cell in family.cells]
        return NoisedFamily(family, tuple(_told(count, suppress_below) for count in counts))

    families = tuple(noised(family) for family in plan.releases(window.level))
    return Release(window.level, window.index, window.seconds, families)


def _told(noised: int, suppress_below: int) -> int | None:
    if suppress_below and noised < suppress_below:
        return None
    return max(-MAX_COUNT, min(MAX_COUNT, noised))
