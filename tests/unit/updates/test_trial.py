"""What a trial forgives, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeapp.updates.release import Probation
from edgeapp.updates.trial import Agreement, Conduct, is_over, judge_trial

LIMITS = Probation()
BEFORE = Conduct(seconds=1800.0, inferred=9000, failures=0, p95_ms=40.0, throttled_s=0.0, rss_mb=120.0)
WORST_ALLOWED = replace(BEFORE, failures=90, p95_ms=60.0, throttled_s=360.0, rss_mb=184.0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"failures": 92}, "E_TRIAL_FAILRATE"),
        ({"p95_ms": 60.1}, "E_TRIAL_LATENCY"),
        ({"throttled_s": 361.0}, "E_TRIAL_THERMAL"),
        ({"rss_mb": 184.1}, "E_TRIAL_MEMORY"),
        ({"inferred": 900, "failures": 0}, "E_TRIAL_STARVED"),
        ({"crashes": 1}, "E_TRIAL_CRASH"),
        ({"rss_mb": None, "p95_ms": None}, None),
    ],
    ids=str,
)
def test_the_end_of_a_trial_tells_what_was_worse(changes: dict[str, float | None], code: str | None) -> None:
    found = judge_trial(BEFORE, replace(WORST_ALLOWED, **changes), LIMITS)  # type: ignore[arg-type]
    assert (found.code.name if found else None) == code


def test_a_crash_and_hopeless_failing_end_it_at_once_and_the_rest_waits() -> None:
    young = replace(BEFORE, seconds=5.0, inferred=0, p95_ms=900.0)
    assert judge_trial(BEFORE, young, LIMITS) is None
    assert not is_over(young, LIMITS)
    hopeless = judge_trial(BEFORE, replace(young, failures=20), LIMITS)
    crashed = judge_trial(BEFORE, replace(young, crashes=1), LIMITS)
    assert [one.code.name for one in (hopeless, crashed) if one] == ["E_TRIAL_FAILRATE", "E_TRIAL_CRASH"]


def test_what_the_device_did_before_the_switch_is_not_the_candidates_fault() -> None:
    hot = replace(BEFORE, throttled_s=1700.0, failures=200)
    assert judge_trial(hot, hot, LIMITS) is None
    idle = replace(BEFORE, inferred=600)  # a motion gate in front of an empty yard
    assert judge_trial(idle, replace(idle, inferred=310), LIMITS) is None


def test_where_nothing_ran_before_the_limits_stand_alone() -> None:
    assert judge_trial(None, replace(BEFORE, p95_ms=900.0), LIMITS) is None
    starved = judge_trial(None, replace(BEFORE, inferred=999), LIMITS)
    assert starved is not None
    assert starved.code.name == "E_TRIAL_STARVED"


@pytest.mark.parametrize(
    ("agreement", "least", "code"),
    [
        (Agreement(400, 200), 0.5, None),
        (Agreement(400, 198), 0.5, "E_TRIAL_AGREEMENT"),
        (Agreement(400, 0), 0.0, None),  # meant to see other things
        (Agreement(19, 0), 0.5, None),  # an empty yard: nothing can be said
        (Agreement(), 0.5, None),
    ],
    ids=str,
)
def test_a_model_that_sees_other_things_in_the_same_frames_does_not_stay(
    agreement: Agreement, least: float, code: str | None
) -> None:
    limits = replace(LIMITS, min_agreement=least)
    found = judge_trial(BEFORE, BEFORE, limits, agreement)
    assert (found.code.name if found else None) == code
    assert judge_trial(BEFORE, replace(BEFORE, seconds=5.0), limits, agreement) is None
    if found is not None:
        assert not {str(agreement.compared), str(agreement.matched)} & set(found.text.split())  # they tell of people
