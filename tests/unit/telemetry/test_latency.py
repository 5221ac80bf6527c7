from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.telemetry.latency import HIGHEST_MS, LOWEST_MS, MAX_RELATIVE_ERROR, LatencyHistogram

_LATENCIES = st.floats(LOWEST_MS, HIGHEST_MS)
_PERCENTS = st.floats(0.01, 100)


def _filled(latencies_ms: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    for latency_ms in latencies_ms:
        histogram.add(latency_ms)
    return histogram


@given(st.lists(_LATENCIES, min_size=1, max_size=200), _PERCENTS)
def test_percentile_is_within_the_promised_error_of_the_sorted_list(latencies_ms: list[float], percent: float) -> None:
    exact = sorted(latencies_ms)[math.ceil(percent / 100 * len(latencies_ms)) - 1]
    answer = _filled(latencies_ms).percentile(percent)
    assert answer is not None
    assert abs(answer - exact) <= MAX_RELATIVE_ERROR * exact


@given(st.lists(_LATENCIES, min_size=1, max_size=50), _PERCENTS, _PERCENTS)
def test_a_higher_percentile_is_never_lower(latencies_ms: list[float], one: float, other: float) -> None:
    histogram = _filled(latencies_ms)
    low, high = histogram.percentile(min(one, other)), histogram.percentile(max(one, other))
    assert low is not None
    assert high is not None
    assert low <= high


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50))
def test_maximum_and_count_are_exact_also_beyond_the_buckets(latencies_ms: list[float]) -> None:
    histogram = _filled(latencies_ms)
    assert histogram.max_ms == histogram.percentile(100) == max(latencies_ms)
    assert histogram.count == len(latencies_ms)


def test_an_empty_histogram_has_no_percentile() -> None:
    histogram = LatencyHistogram()
    assert (histogram.percentile(50), histogram.max_ms, histogram.count) == (None, None, 0)


def test_memory_does_not_grow_with_the_number_of_latencies() -> None:
    histogram = LatencyHistogram()
    before = sys.getsizeof(histogram._counts)
    for number in range(20_000):
        histogram.add(number / 7)
    assert sys.getsizeof(histogram._counts) == before < 8192


@pytest.mark.parametrize("latency_ms", [-0.001, math.nan, math.inf])
def test_what_is_no_latency_is_refused(latency_ms: float) -> None:
    with pytest.raises(ValueError, match="latency_ms: expected a finite number"):
        LatencyHistogram().add(latency_ms)


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_a_percent_out_of_range_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent: expected"):
        LatencyHistogram().percentile(percent)
