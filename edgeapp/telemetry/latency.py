"""Percentiles of latencies in constant memory, pure.

Owns a histogram with buckets of equal relative width. Guarantee: a percentile is within `MAX_RELATIVE_ERROR` of the
exact nearest-rank percentile as long as that lies between `LOWEST_MS` and `HIGHEST_MS`; the maximum is exact. The
memory is the same for one latency and for a billion.

Source of the shape: logarithmic buckets with the geometric middle as the answer, as in DDSketch (Masson, Rim, Lee:
"DDSketch: a fast and fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019).
"""

from __future__ import annotations

import math
from array import array

LOWEST_MS = 0.01
HIGHEST_MS = 60_000.0
_RATIO = 1.02  # upper bound of a bucket over its lower bound
_LOG_RATIO = math.log(_RATIO)
_BUCKETS = math.ceil(math.log(HIGHEST_MS / LOWEST_MS) / _LOG_RATIO)
MAX_RELATIVE_ERROR = _RATIO - 1.0  # half of it by the formula; the rest covers rounding at a bucket's edge


class LatencyHistogram:
    """Counts latencies in buckets 2 % wide, from 10 µs to 60 s; what lies outside goes to the bucket at that end."""

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _BUCKETS))
        self._count = 0
        self._max_ms: float | None = None

    @property
    def count(self) -> int:
        """How many latencies were added."""
        return self._count

    @property
    def max_ms(self) -> float | None:
        """The largest latency added, exact; None while there is none."""
        return self._max_ms

    def add(self, latency_ms: float) -> None:
        """Count one latency.

        Raises:
            ValueError: it is negative, infinite or not a number.
        """
        if not (math.isfinite(latency_ms) and latency_ms >= 0):
            raise ValueError(f"latency_ms: expected a finite number from 0 up, found {latency_ms}")
        self._counts[_bucket(latency_ms)] += 1
        self._count += 1
        self._max_ms = latency_ms if self._max_ms is None else max(self._max_ms, latency_ms)

    def percentile(self, percent: float) -> float | None:
        """The nearest-rank percentile in ms, or None while there is no latency. 100 gives the exact maximum.

        Args:
            percent: above 0, up to 100.

        Raises:
            ValueError: `percent` is out of its range.
        """
        if not 0 < percent <= 100:
            raise ValueError(f"percent: expected above 0 and up to 100, found {percent}")
        if self._max_ms is None:
            return None
        rank = math.ceil(percent / 100 * self._count)
        if rank >= self._count:
            return self._max_ms
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_middle_ms(index), self._max_ms)
        raise AssertionError("the buckets hold fewer latencies than were counted")


def _bucket(latency_ms: float) -> int:
    if latency_ms <= LOWEST_MS:
        return 0
    return min(int(math.log(latency_ms / LOWEST_MS) / _LOG_RATIO), _BUCKETS - 1)


def _middle_ms(index: int) -> float:
    return LOWEST_MS * math.exp((index + 0.5) * _LOG_RATIO)
