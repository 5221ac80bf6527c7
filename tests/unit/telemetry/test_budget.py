from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import CountingConfig, LineConfig, PrivacyConfig, SharesConfig, ZoneConfig
from edgeapp.telemetry.budget import DAY, HOUR, LEVELS, QUARTER, FamilyRelease, Plan, plan
from edgeapp.types import CONFIDENCE_EDGES, DWELL_EDGES_S

DOOR = LineConfig(name="door", start=(0, 0.5), end=(1, 0.5))
SHELF = ZoneConfig(name="shelf", polygon=((0, 0), (1, 0), (1, 1)))
NOTHING = CountingConfig()
EVERYTHING = CountingConfig(lines=(DOOR,), zones=(SHELF,))
weights = st.one_of(st.just(0.0), st.floats(0, 1000), st.integers(1, 9).map(float))
shares_of_all = st.builds(
    SharesConfig, entered=weights, crossings=weights, presence=weights, dwell=weights, confidence=weights
)


def spent(plan: Plan) -> Fraction:
    return sum((each.epsilon for level in LEVELS for each in plan.releases(level)), Fraction(0))


def by_family(plan: Plan) -> dict[str, list[FamilyRelease]]:
    found: dict[str, list[FamilyRelease]] = {}
    for level in LEVELS:
        for release in plan.releases(level):
            found.setdefault(release.family, []).append(release)
    return found


@given(
    st.floats(0.01, 20), shares_of_all, st.sampled_from([NOTHING, EVERYTHING]), st.sampled_from(["track", "duration"])
)
def test_all_releases_together_spend_exactly_the_budget(epsilon, shares, counting, guarantee) -> None:  # type: ignore[no-untyped-def]
    privacy = PrivacyConfig(guarantee=guarantee, epsilon_per_day=epsilon, shares=shares)
    usable = [shares.entered, shares.presence, shares.confidence]
    usable += [shares.crossings, shares.dwell] if counting is EVERYTHING else []
    if not any(usable):
        with pytest.raises(ValueError, match=r"privacy\.shares"):
            plan(privacy, counting, ("person",))
        return
    assert spent(plan(privacy, counting, ("person",))) == Fraction(repr(epsilon))


def test_the_default_shares_are_those_of_the_decision() -> None:
    found = {
        (level.name, each.family): each.epsilon
        for level in LEVELS
        for each in plan(PrivacyConfig(), EVERYTHING, ("person",)).releases(level)
    }
    assert found == {
        ("quarter", "entered"): Fraction(3, 32),
        ("quarter", "crossings"): Fraction(3, 32),
        ("quarter", "dwell"): Fraction(1, 32),
        ("hour", "entered"): Fraction(21, 160),
        ("hour", "crossings"): Fraction(21, 160),
        ("hour", "dwell"): Fraction(7, 160),
        ("day", "entered"): Fraction(3, 20),
        ("day", "crossings"): Fraction(3, 20),
        ("day", "dwell"): Fraction(1, 20),
        ("day", "confidence"): Fraction(1, 8),
    }


def test_the_decimal_fraction_that_was_written_is_spent_and_not_its_binary_neighbour() -> None:
    assert spent(plan(PrivacyConfig(epsilon_per_day=0.1), NOTHING, ("person",))) == Fraction(1, 10)


def test_the_guarantee_none_releases_nothing() -> None:
    nothing = plan(PrivacyConfig(guarantee="none"), EVERYTHING, ("person",))
    assert [nothing.releases(level) for level in LEVELS] == [(), (), ()]


def test_without_lines_and_zones_their_shares_go_to_the_others() -> None:
    families = by_family(plan(PrivacyConfig(), NOTHING, ("person",)))
    assert list(families) == ["entered", "confidence"]
    assert sum(each.epsilon for each in families["entered"]) == Fraction(3, 4)


def test_confidence_is_released_once_a_day_with_its_whole_share() -> None:
    only = PrivacyConfig(shares=SharesConfig(entered=0, crossings=0, dwell=0, confidence=2))
    alone = plan(only, NOTHING, ("person",))
    assert (alone.releases(QUARTER), alone.releases(HOUR)) == ((), ())
    assert [each.epsilon for each in alone.releases(DAY)] == [1]


def test_the_cells_are_named_and_ordered() -> None:
    privacy = PrivacyConfig(shares=SharesConfig(presence=1))
    cells = {each.family: each.cells for each in plan(privacy, EVERYTHING, ("person", "dog")).releases(DAY)}
    assert list(cells) == ["entered", "crossings", "presence", "dwell", "confidence"]
    assert cells["entered"] == cells["presence"] == (("person",), ("dog",))
    assert cells["crossings"] == (
        ("door", "person", "forward"),
        ("door", "person", "backward"),
        ("door", "dog", "forward"),
        ("door", "dog", "backward"),
    )
    assert cells["dwell"] == tuple(("shelf", str(number)) for number in range(len(DWELL_EDGES_S) + 1))
    assert cells["confidence"] == tuple((str(number),) for number in range(len(CONFIDENCE_EDGES) + 1))


def test_the_scale_is_the_sensitivity_over_epsilon() -> None:
    for guarantee in ("track", "duration"):
        for level in LEVELS:
            for each in plan(PrivacyConfig(guarantee=guarantee), EVERYTHING, ("person",)).releases(level):
                assert each.scale == Fraction(each.sensitivity) / each.epsilon


def test_one_track_changes_one_cell_by_one() -> None:
    releases = by_family(plan(PrivacyConfig(), EVERYTHING, ("person", "dog")))
    assert {each.sensitivity for family in releases.values() for each in family} == {1}


def worlds_apart(privacy: PrivacyConfig, cells: int, start_s: int) -> int:
    """The largest L1 distance that appearances from `start_s` on, far from each other, make between two worlds."""
    first, last = start_s // privacy.chunk_s, (start_s + privacy.event_s) // privacy.chunk_s
    here, there = [0] * cells, [0] * cells
    for _ in range(privacy.segments * (last - first + 1)):
        here[0] += privacy.max_rows
        there[-1] += privacy.max_rows if cells > 1 else 0
    return sum(abs(a - b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("cells", [1, 2, 10])
@pytest.mark.parametrize(("event_s", "chunk_s"), [(30, 30), (31, 30), (1, 900), (45, 20), (60, 1)])
def test_the_sensitivity_of_an_event_is_the_furthest_that_it_can_move_the_counts(
    event_s: int, chunk_s: int, cells: int
) -> None:
    privacy = PrivacyConfig(guarantee="duration", event_s=event_s, chunk_s=chunk_s, segments=2, max_rows=3)
    classes = tuple(str(number) for number in range(cells))
    bound = plan(privacy, NOTHING, classes).releases(QUARTER)[0].sensitivity
    worst = max(worlds_apart(privacy, cells, start_s) for start_s in range(2 * chunk_s))
    assert worst == bound


def test_a_histogram_needs_twice_the_noise_of_a_single_count_for_an_event() -> None:
    privacy = dataclasses.replace(PrivacyConfig(guarantee="duration"), event_s=60, segments=2, max_rows=5)
    found = {each.family: each.sensitivity for each in plan(privacy, EVERYTHING, ("person",)).releases(DAY)}
    assert found == {"entered": 2 * 3 * 5, "crossings": 60, "dwell": 60, "confidence": 60}
