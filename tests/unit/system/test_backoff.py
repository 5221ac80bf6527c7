from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.system.backoff import Backoff

_SHARES = st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=40)


@given(shares=_SHARES, first_s=st.floats(0.01, 5), factor=st.floats(1, 1000))
def test_each_delay_is_its_share_of_the_doubled_ceiling_up_to_the_limit(
    shares: list[float], first_s: float, factor: float
) -> None:
    max_s = first_s * factor
    source = iter(shares)
    backoff = Backoff(first_s, max_s, lambda: next(source))
    for attempt, share in enumerate(shares):
        assert backoff.next_s() == pytest.approx(share * min(max_s, first_s * 2**attempt))


@given(attempts=st.integers(0, 50), share=st.floats(0, 1, exclude_max=True))
def test_after_a_reset_the_delay_is_small_again(attempts: int, share: float) -> None:
    backoff = Backoff(0.2, 60.0, lambda: share)
    for _ in range(attempts):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.2


def test_years_of_attempts_neither_overflow_nor_exceed_the_limit() -> None:
    backoff = Backoff(0.2, 10.0, lambda: 0.999)
    delays = [backoff.next_s() for _ in range(5000)]
    assert max(delays) <= 10.0
    assert delays[-1] == pytest.approx(9.99)


def test_a_limit_below_the_first_delay_holds_for_the_first_delay_too() -> None:
    assert Backoff(5.0, 1.0, lambda: 0.999).next_s() <= 1.0


def test_a_fleet_that_failed_together_comes_back_spread_over_the_whole_range() -> None:
    fleet = [Backoff(1.0, 64.0, random.Random(device).random) for device in range(400)]
    for _ in range(6):
        for backoff in fleet:
            backoff.next_s()
    delays = sorted(backoff.next_s() for backoff in fleet)
    quarters = [sum(quarter * 16 <= delay < (quarter + 1) * 16 for delay in delays) for quarter in range(4)]
    assert min(quarters) > 60
