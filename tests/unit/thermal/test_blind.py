"""Work, rest, work: what is taken for our own heat and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeapp.config import ThermalConfig
from edgeapp.thermal.blind import Blind

INFER_S = 0.08


def duties(infer_s: Callable[[float, bool], float], seconds: int, *, is_hot: bool = False) -> list[float]:
    """The duty every 2 s; `infer_s` tells an inference's time from the time and whether the device rests."""
    blind = Blind(ThermalConfig(), 0.0, duty=0.5, most=0.5, is_hot=is_hot)
    seen, duty = [], 0.5
    for at_s in range(2, seconds, 2):
        duty = blind.feel(at_s, 0.8, infer_s(at_s, duty < 0.3 * max(seen, default=1.0)))
        seen.append(duty)
    return seen


def test_where_resting_makes_nothing_quicker_the_full_rate_is_reached() -> None:
    assert max(duties(lambda at_s, is_resting: INFER_S, 1800)) == 0.8


def test_where_the_heat_limited_the_rate_before_it_rises_but_slowly() -> None:
    assert 0.5 < max(duties(lambda at_s, is_resting: INFER_S, 1800, is_hot=True)) < 0.6


@pytest.mark.parametrize("share", [1.02, 1.05, 1.2])
def test_where_resting_makes_inferences_quicker_less_is_inferred(share: float) -> None:
    found = duties(lambda at_s, is_resting: INFER_S * (1.0 if is_resting else share), 900)
    assert max(found[-60:]) < 0.3


def test_other_work_that_stays_is_not_taken_for_heat() -> None:
    found = duties(lambda at_s, is_resting: INFER_S * (1.0 if at_s < 500 else 1.3), 1800)
    assert max(found[-120:]) == 0.8


def test_other_work_that_ends_with_a_rest_and_stays_away_is_not_taken_for_heat() -> None:
    found = duties(lambda at_s, is_resting: INFER_S * (1.3 if at_s <= 45 else 1.0), 1800)
    assert max(found) == 0.8
