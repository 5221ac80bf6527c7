"""Planted bugs: each breaks one function of the product, as a person might by mistake, and must be found by the audit.

Each is entered anew where a device starts, so that what it seeds begins anew as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest import mock

from edgeapp import census
from edgeapp.config import PrivacyConfig
from edgeapp.escalation.policy import Bar, Limits, Spent, Windows
from edgeapp.telemetry import budget, noise
from edgeapp.telemetry.budget import FamilyRelease, Plan
from edgeapp.telemetry.contributions import ContributionBound, Counts
from edgeapp.telemetry.counts_message import counts_message
from edgeapp.telemetry.levels import ClosedWindow
from edgeapp.telemetry.release import NoisedFamily, Release, release
from edgeapp.telemetry.spool import Spool
from edgeapp.types import ESCALATED
from tests.fakes import audited_site as sites
from tests.fakes.audited_site import Site
from tests.fakes.privacy_audit import Break

_Planted = AbstractContextManager[object]
_CLEAR = 10_000  # samples for what doubles ε or so
_CERTAIN = 1_000  # samples for what shows in every life


@dataclass(frozen=True, slots=True)
class Bug:
    """What to break, on which site it shows, in how many samples and with which neighbouring worlds."""

    breaking: Break
    site: Site
    samples: int = _CLEAR
    seed: int = 0


def _scaled(factor: Fraction) -> _Planted:
    draw = noise.discrete_laplace
    return mock.patch.object(noise, "discrete_laplace", lambda scale: draw(scale * factor))


def _continuous(scale: Fraction) -> float:
    return random.expovariate(1 / float(scale)) - random.expovariate(1 / float(scale))


@contextmanager
def _one_draw_for_all_cells() -> Iterator[None]:
    draw = noise.discrete_laplace

    def releasing(window: ClosedWindow, plan: Plan, *, suppress_below: int) -> Release:
        drawn: dict[Fraction, int] = {}
        with mock.patch.object(noise, "discrete_laplace", lambda scale: drawn.setdefault(scale, draw(scale))):
            return release(window, plan, suppress_below=suppress_below)

    with mock.patch("edgeapp.census.release", releasing):
        yield


def _families(change: Callable[[NoisedFamily, list[int]], NoisedFamily | None]) -> _Planted:
    """Change the families of each release, or leave some out, by their exact counts."""

    def releasing(window: ClosedWindow, plan: Plan, *, suppress_below: int) -> Release:
        told = release(window, plan, suppress_below=suppress_below)
        changed = [
            change(family, [window.counts.of(family.plan.family, cell) for cell in family.plan.cells])
            for family in told.families
        ]
        return replace(told, families=tuple(family for family in changed if family is not None))

    return mock.patch("edgeapp.census.release", releasing)


def _suppress(family: NoisedFamily, exact: list[int]) -> NoisedFamily:
    told = tuple(count if true else None for count, true in zip(family.counts, exact, strict=True))
    return replace(family, counts=told)


def _clamp(family: NoisedFamily, exact: list[int]) -> NoisedFamily:
    far = round(2 * family.plan.scale)
    pairs = zip(family.counts, exact, strict=True)
    return replace(family, counts=tuple(max(true - far, min(true + far, count or 0)) for count, true in pairs))


@contextmanager
def _padding_by_the_count() -> Iterator[None]:
    exact_in_all = 0

    def note(family: NoisedFamily, exact: list[int]) -> NoisedFamily:
        nonlocal exact_in_all
        exact_in_all = sum(exact)
        return family

    def making(*arguments: Any, **fields: Any) -> bytes:
        payload = counts_message(*arguments, **fields)
        return payload[:-2] + b" " * exact_in_all + payload[-2:]

    with _families(note), mock.patch("edgeapp.reporter.counts_message", making):
        yield


def _plans(change: Callable[[budget.Level, FamilyRelease], FamilyRelease]) -> _Planted:
    make = budget.plan

    def planning(*arguments: Any) -> Plan:
        plan = make(*arguments)
        return Plan({level: tuple(change(level, each) for each in plan.releases(level)) for level in budget.LEVELS})

    return mock.patch.object(budget, "plan", planning)


class _Everybody(set[int]):
    def __contains__(self, _: object) -> bool:
        return True


def _present_everywhere() -> _Planted:
    begin = Counts.__init__

    def beginning(counts: Counts) -> None:
        begin(counts)
        counts._entered_here = _Everybody()

    return mock.patch.object(Counts, "__init__", beginning)


def _rows_without_limit() -> _Planted:
    begin = ContributionBound.__init__
    return mock.patch.object(ContributionBound, "__init__", lambda bound, _=None: begin(bound, None))


def _sensitivity(change: Callable[[Callable[[PrivacyConfig, int], int], PrivacyConfig, int], int]) -> _Planted:
    right = budget.sensitivity
    return mock.patch.object(budget, "sensitivity", lambda privacy, cells: change(right, privacy, cells))


def _silent_where_nobody_came() -> _Planted:
    tell = census.Census._release

    def telling(self: census.Census, closed: list[ClosedWindow | None]) -> tuple[Release, ...]:
        return tell(self, [window for window in closed if window is not None and window.counts._cells.total()])

    return mock.patch.object(census.Census, "_release", telling)


def _of_escalation_exact(family: NoisedFamily, exact: list[int]) -> NoisedFamily:
    return replace(family, counts=tuple(exact)) if family.plan.family == ESCALATED else family


def _told_where_it_happened(family: NoisedFamily, exact: list[int]) -> NoisedFamily | None:
    return None if family.plan.family == ESCALATED and not any(exact) else family


def _beside_the_budget(level: budget.Level, each: FamilyRelease) -> FamilyRelease:
    """As if all of it were there for escalation alone, whatever the others spend."""
    if each.family != ESCALATED:
        return each
    whole = Fraction(round(sites.EPSILON)) * level.share
    return replace(each, epsilon=whole, scale=each.sensitivity / whole)


def _crops_so_far_apart() -> _Planted:
    """A pause after each crop in place of so many an hour: one track more shifts all that come after it."""
    pause_s = 12

    def spend(spent: Spent, now_s: float, _: Limits) -> tuple[Spent, Bar | None]:
        if now_s - spent.windows.hour < pause_s:  # seconds, for once
            return spent, Bar.HOUR
        return Spent(Windows(round(now_s), 0, 0)), None

    return mock.patch("edgeapp.escalator.spend", spend)


_STRONG = replace(
    sites.ENTERED, name="track: entered, epsilon 4", privacy=replace(sites.ENTERED.privacy, epsilon_per_day=4.0)
)

BUGS: dict[str, Bug] = {
    "half the scale": Bug(lambda: _scaled(Fraction(1, 2)), sites.ENTERED),
    "a scale 10 % too small": Bug(lambda: _scaled(Fraction(9, 10)), _STRONG, samples=150_000),
    "suppression by the exact count": Bug(lambda: _families(_suppress), sites.ONE_CLASS, _CERTAIN),
    "clamp around the exact count": Bug(lambda: _families(_clamp), sites.ENTERED),
    "a track feeds several cells": Bug(
        lambda: mock.patch.object(ContributionBound, "limit", lambda _, events: list(events)), sites.CROSSINGS
    ),
    "a track is present in two windows": Bug(_present_everywhere, sites.PRESENCE, 30_000, seed=14),
    "a chunk without a limit": Bug(_rows_without_limit, sites.ONE_CLASS),
    "an event that touches one chunk less": Bug(
        lambda: _sensitivity(lambda right, privacy, cells: right(privacy, cells) // 2), sites.ONE_CLASS
    ),
    "a histogram noised as one number": Bug(
        lambda: _sensitivity(lambda right, privacy, _: right(privacy, 1)), sites.TWO_CLASSES, 60_000
    ),
    "noise drawn anew when a window is told again": Bug(
        lambda: mock.patch.object(Spool, "put_release", lambda spool, make, kind, *_: spool.put(make, kind)),
        sites.ENTERED,
        _CERTAIN,
    ),
    "a seeded generator": Bug(
        lambda: mock.patch.object(noise, "secrets", SimpleNamespace(randbelow=random.Random(7).randrange)),
        sites.ENTERED,
        _CERTAIN,
    ),
    "one draw for all cells": Bug(_one_draw_for_all_cells, sites.TWO_CLASSES, _CERTAIN),
    "noise of floating point": Bug(
        lambda: mock.patch.object(noise, "discrete_laplace", _continuous), sites.ENTERED, _CERTAIN
    ),
    "each level spends the whole budget": Bug(
        lambda: _plans(lambda level, each: replace(each, scale=each.scale * level.share)), sites.ENTERED
    ),
    "levels that sum up to more, and say so": Bug(
        lambda: _plans(lambda _, each: replace(each, epsilon=2 * each.epsilon, scale=each.scale / 2)),
        sites.ENTERED,
        _CERTAIN,
    ),
    "padding by the exact count": Bug(_padding_by_the_count, sites.ONE_CLASS, _CERTAIN),
    "fields only for what was counted": Bug(
        lambda: _families(lambda family, exact: family if any(exact) else None), sites.ONE_CLASS, _CERTAIN
    ),
    "reports only of windows in which somebody came": Bug(_silent_where_nobody_came, sites.ONE_CLASS, _CERTAIN),
    "outcomes of escalation without noise": Bug(lambda: _families(_of_escalation_exact), sites.ESCALATED, _CERTAIN),
    "outcomes only where something was escalated": Bug(
        lambda: _families(_told_where_it_happened), sites.ESCALATED_ALONE, _CERTAIN
    ),
    "one draw for all outcomes": Bug(_one_draw_for_all_cells, sites.ESCALATED, _CERTAIN),
    "escalation noised for one track": Bug(
        lambda: mock.patch.object(budget, "_OF_TWO_IF_CORRECTED", frozenset()), sites.ESCALATED, 60_000
    ),
    "corrected crossings noised for one track": Bug(
        lambda: mock.patch.object(budget, "_OF_TWO_IF_CORRECTED", budget._OF_TWO), sites.CORRECTED
    ),
    "escalation beside the budget": Bug(lambda: _plans(_beside_the_budget), sites.ESCALATED_BESIDE, _CERTAIN),
    "crops so far apart, not so many an hour": Bug(_crops_so_far_apart, sites.ESCALATED, 30_000),
}
