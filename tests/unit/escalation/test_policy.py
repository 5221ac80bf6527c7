"""Who is doubted, and that no budget is ever exceeded or lets one track disturb more than one other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.config import CropConfig, EscalationConfig, QuietHours
from edgeapp.escalation.policy import (
    Bar,
    Conditions,
    Doubt,
    Life,
    Limits,
    Opened,
    Spent,
    Windows,
    bar,
    charge_bytes,
    doubt,
    is_quiet,
    limits,
    opened,
    opened_ahead,
    spend,
    spent_at_start,
    thresholds,
    windows_at,
)

NOON_S = 1_782_820_800.0  # 2026-06-30 12:00 UTC: a month ends with the day
SURE = Life("person", 0.9, 0.8, 0.95)
GOOD = Conditions(has_consent=True, is_hot=False, is_quiet=False, is_metered=False, is_endpoint_up=True)
FRESH = Spent(Windows(0, 0, 0))
TIMES = st.lists(st.integers(0, 80 * 3600), max_size=60).map(sorted)
LIMITS = st.builds(Limits, hour=st.integers(1, 4), day=st.integers(1, 9), month=st.integers(1, 20))


def asked(times: list[int], most: Limits, spent: Spent = FRESH) -> list[int]:
    """The places of those of the tracks, doubted at these seconds after noon, that are asked about."""
    found = []
    for place, at_s in enumerate(times):
        spent, why = spend(spent, NOON_S + at_s, most)
        if why is None:
            found.append(place)
    return found


@pytest.mark.parametrize(
    ("life", "expected"),
    [
        (SURE, None),
        (replace(SURE, mean_score=0.59), Doubt.LOW_SCORE),
        (replace(SURE, class_name="bicycle", mean_score=0.59), None),
        (replace(SURE, class_name="bicycle", mean_score=0.29), Doubt.LOW_SCORE),
        (replace(SURE, margin=0.2), None),
        (replace(SURE, margin=0.1), Doubt.CLOSE_CLASSES),
        (replace(SURE, margin=-0.3), Doubt.CLOSE_CLASSES),
        (replace(SURE, least_score=0.5), Doubt.UNSTEADY),
    ],
)
def test_a_track_is_doubted_for_a_reason(life: Life, expected: Doubt | None) -> None:
    of_model = thresholds(EscalationConfig(), {"bicycle": 0.3})
    assert doubt(life, of_model) is expected


def test_the_configuration_outweighs_the_models_thresholds() -> None:
    assert doubt(SURE, thresholds(EscalationConfig(below=0.95), {"person": 0.2})) is Doubt.LOW_SCORE


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"has_consent": False}, Bar.CONSENT),
        ({"is_hot": True}, Bar.HEAT),
        ({"is_quiet": True}, Bar.QUIET_HOURS),
        ({"is_metered": True}, Bar.METERED),
        ({"is_endpoint_up": False}, Bar.ENDPOINT),
        ({"has_consent": False, "is_hot": True}, Bar.CONSENT),
    ],
)
def test_each_condition_alone_bars(change: dict[str, bool], why: Bar | None) -> None:
    assert bar(replace(GOOD, **change)) is why


@pytest.mark.parametrize(("minute", "quiet"), [(0, True), (359, True), (360, False), (1319, False), (1320, True)])
def test_quiet_hours_span_midnight(minute: int, quiet: bool) -> None:
    assert is_quiet(QuietHours(start="22:00", end="06:00"), NOON_S - 43_200 + 60 * minute) is quiet
    assert not is_quiet(None, NOON_S)
    assert is_quiet(QuietHours(start="06:00", end="22:00"), NOON_S)


def test_bytes_are_charged_as_the_largest_crop() -> None:
    tight = EscalationConfig(crop=CropConfig(max_kb=32), max_mb_per_hour=0.1, max_mb_per_day=0.2, max_mb_per_month=0.3)
    assert charge_bytes(tight) == 40_000
    assert limits(tight) == Limits(hour=2, day=5, month=7)
    assert limits(EscalationConfig()).hour == 20, "by default the number of crops is what bounds an hour"


@given(times=TIMES, most=LIMITS)
def test_no_window_is_ever_exceeded(times: list[int], most: Limits) -> None:
    moments = [windows_at(NOON_S + times[place]) for place in asked(times, most)]
    assert all(count <= most.hour for count in Counter(each.hour for each in moments).values())
    assert all(count <= most.day for count in Counter(each.day for each in moments).values())
    assert all(count <= most.month for count in Counter(each.month for each in moments).values())


@given(times=TIMES, most=LIMITS, steps=st.lists(st.integers(-7200, 7200), min_size=60, max_size=60))
def test_a_clock_that_steps_back_reopens_no_window(times: list[int], most: Limits, steps: list[int]) -> None:
    spent, furthest, used = FRESH, 0, Counter[int]()
    for at_s, step in zip(times, steps, strict=False):
        now_s = NOON_S + at_s + step
        furthest = max(furthest, windows_at(now_s).hour)
        spent, why = spend(spent, now_s, most)
        used[furthest] += why is None
    assert all(count <= most.hour for count in used.values())


@settings(max_examples=300)
@given(times=TIMES.filter(bool), most=LIMITS, data=st.data())
def test_one_track_more_changes_the_asking_about_one_other_at_most(
    times: list[int], most: Limits, data: st.DataObject
) -> None:
    """The sensitivity of the family `escalated`: the track itself, and whose place it takes."""
    place = data.draw(st.integers(0, len(times) - 1))
    with_it = set(asked(times, most))
    without = {each + (each >= place) for each in asked(times[:place] + times[place + 1 :], most)}
    assert len((with_it ^ without) - {place}) <= 1
    assert len(with_it ^ without) <= 2


@settings(max_examples=300)
@given(times=TIMES, most=LIMITS, starts=st.sets(st.integers(0, 59)))
def test_starting_anew_gives_nothing_back(times: list[int], most: Limits, starts: set[int]) -> None:
    kept, spent, used = Opened(), FRESH, Counter[str]()
    for number, at_s in enumerate(times):
        now_s = NOON_S + at_s
        if number in starts:
            spent = spent_at_start(kept, most)
        kept = opened_ahead(kept, now_s)
        spent, why = spend(spent, now_s, most)
        for name in ("hour", "day", "month"):
            used[f"{name} {getattr(windows_at(now_s), name)}"] += why is None
    for name, count in used.items():
        assert count <= getattr(most, name.split()[0])


@given(times=TIMES.filter(bool))
def test_what_is_kept_on_disk_does_not_depend_on_who_was_asked_about(times: list[int]) -> None:
    kept = Opened()
    for at_s in times:
        kept = opened(kept, NOON_S + at_s)
    hours = {windows_at(NOON_S + at_s).hour for at_s in times}
    assert kept.hour == max(hours)
    assert kept.hours_this_month == len({hour for hour in hours if windows_at(hour * 3600).month == kept.month})
