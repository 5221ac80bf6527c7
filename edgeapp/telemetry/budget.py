"""Who may spend how much of the privacy budget: the plan of a site's releases, pure.

Owns the levels, the families, their cells in a fixed order, and the exact ε, sensitivity and scale of each release.
Leaves the bounding of contributions to whoever counts, and the noise to `noise.py`. Guarantee: over all families and
levels the ε sum up to `epsilon_per_day` exactly; docs/decisions/0009 argues why that is what one track, or one event,
costs in all.

A family is one kind of number told of people. Its cells are disjoint: a track feeds at most one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from types import MappingProxyType

from edgeapp.config import CountingConfig, EscalationConfig, PrivacyConfig
from edgeapp.types import (
    BACKWARD,
    CONFIDENCE,
    CONFIDENCE_EDGES,
    CROSSINGS,
    DWELL,
    DWELL_EDGES_S,
    ENTERED,
    ESCALATED,
    FORWARD,
    OUTCOMES,
    PRESENCE,
    Cell,
)


@dataclass(frozen=True, slots=True)
class Level:
    """Windows of one length. `share` is its part of a family's ε; at each level a track falls into one window."""

    name: str
    seconds: int
    share: Fraction


QUARTER = Level("quarter", 900, Fraction(1, 4))
HOUR = Level("hour", 3600, Fraction(7, 20))
DAY = Level("day", 86_400, Fraction(2, 5))
LEVELS = (QUARTER, HOUR, DAY)
# Drift is judged once a day; a histogram of confidences at shorter levels would cost budget and serve nobody.
_DAY_ONLY = frozenset({CONFIDENCE})
# One track may take the place of one other in the budgets of escalation, so it can change these for two.
_OF_TWO = frozenset({ESCALATED})
_OF_TWO_IF_CORRECTED = frozenset({ESCALATED, CROSSINGS, PRESENCE, DWELL})
_NO_ESCALATION = EscalationConfig()


@dataclass(frozen=True, slots=True)
class FamilyRelease:
    """One family at one level: each of its cells gets discrete Laplace noise of `scale` = `sensitivity` / `epsilon`."""

    family: str
    epsilon: Fraction
    sensitivity: int
    scale: Fraction
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a site releases at each level, in a fixed order."""

    by_level: Mapping[Level, tuple[FamilyRelease, ...]]

    def releases(self, level: Level) -> tuple[FamilyRelease, ...]:
        """The families released at a level; () where it releases none."""
        return self.by_level[level]


def plan(
    privacy: PrivacyConfig,
    counting: CountingConfig,
    classes: tuple[str, ...],
    escalation: EscalationConfig = _NO_ESCALATION,
) -> Plan:
    """Share the budget out between the families and levels.

    Args:
        classes: the names of all classes that a track can have.

    Raises:
        ValueError: something is to be released, but no family that this site can release has a share.
    """
    weights = releasable(privacy, counting, escalation)
    if privacy.guarantee == "none":
        weights = {}
    elif not weights:
        raise ValueError("privacy.shares: expected a share for a family that this site can release, found none")
    cells = _cells(counting, classes)
    twice = _OF_TWO_IF_CORRECTED if escalation.corrects_counts else _OF_TWO
    twice = twice if escalation.enabled else frozenset()
    total, daily = sum(weights.values()), _exact(privacy.epsilon_per_day)

    def release(family: str, level: Level) -> FamilyRelease:
        part = Fraction(1) if family in _DAY_ONLY else level.share
        epsilon = daily * weights[family] / total * part
        bound = sensitivity(privacy, len(cells[family])) * (2 if family in twice else 1)
        return FamilyRelease(family, epsilon, bound, bound / epsilon, cells[family])

    return Plan(
        MappingProxyType(
            {
                level: tuple(release(family, level) for family in weights if level is DAY or family not in _DAY_ONLY)
                for level in LEVELS
            }
        )
    )


def releasable(
    privacy: PrivacyConfig, counting: CountingConfig, escalation: EscalationConfig = _NO_ESCALATION
) -> dict[str, Fraction]:
    """The weights above 0 of the families that this site can release, in their fixed order."""
    shares = privacy.shares
    weights = {
        ENTERED: shares.entered,
        CROSSINGS: shares.crossings if counting.lines else 0.0,
        PRESENCE: shares.presence,
        DWELL: shares.dwell if counting.zones else 0.0,
        CONFIDENCE: shares.confidence,
        ESCALATED: shares.escalated if escalation.enabled else 0.0,
    }
    return {family: _exact(weight) for family, weight in weights.items() if weight > 0}


def sensitivity(privacy: PrivacyConfig, cells: int) -> int:
    """How far one track, or one event, can change a family of `cells` cells: L1, over all windows of a level together.

    duration: an event touches at most segments · (1 + ⌈event_s / chunk_s⌉) chunks, each of at most max_rows rows. In
    another world all rows of such a chunk may be others, so each can leave one cell and enter a second.
    Where escalation can change a family, it is twice that (docs/decisions/0023).
    """
    if privacy.guarantee != "duration":
        return 1
    chunks = privacy.segments * (1 + -(-privacy.event_s // privacy.chunk_s))
    return chunks * privacy.max_rows * (1 if cells == 1 else 2)


def _cells(counting: CountingConfig, classes: tuple[str, ...]) -> dict[str, tuple[Cell, ...]]:
    lines, zones = ([each.name for each in named] for named in (counting.lines, counting.zones))
    return {
        ENTERED: tuple(product(classes)),
        CROSSINGS: tuple(product(lines, classes, (FORWARD, BACKWARD))),
        PRESENCE: tuple(product(classes)),
        DWELL: tuple(product(zones, _bins(DWELL_EDGES_S))),
        CONFIDENCE: tuple(product(_bins(CONFIDENCE_EDGES))),
        ESCALATED: tuple(product(OUTCOMES)),
    }


def _bins(edges: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(str(number) for number in range(len(edges) + 1))


def _exact(number: float) -> Fraction:
    """The decimal fraction that a person wrote, not its nearest binary neighbour."""
    return Fraction(repr(number))
