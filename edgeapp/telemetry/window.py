"""Clock-aligned windows: which span of time a report speaks of, and what was seen in it, pure.

Owns the opening and closing of windows and the sums of the open one. Leaves to the caller every clock: wall time says
to which window a moment belongs, monotonic time how long was really observed. Keeps no number of people or tracks.

Guarantees, for a wall clock that does anything at all:
- the window index never decreases;
- a window in which nothing arrived is reported with n = 0; one that nobody observed is not invented;
- a clock that steps back keeps the open window open until its end has passed again. If that would take longer than a
  second window length (the clock was far ahead and came back), a report is closed anyway and the next one has the
  same index: a device must not fall silent for years because its clock once stood in the future.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeapp.telemetry.latency import LatencyHistogram
from edgeapp.types import Prediction

_STEP_S = 1.0  # between two looks wall and monotonic time may drift apart by slewing, not by this much
_EDGE_S = 1.0  # a window is looked at now and then, so it opens and closes a little late
_EDGE_SHARE = 0.02
_MAX_LENGTHS = 2  # observed for longer than this many window lengths, a window is closed whatever the clock says


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregate:
    """What one window saw. Latencies are None where no frame was inferred.

    `start_s` and `end_s` are the window's nominal bounds, seconds since 1970-01-01 UTC; `seconds` is how long it was
    observed. `is_complete`: all of the window was observed, and with a steady clock. `clock_stepped`: wall time jumped
    while the window was open, so its bounds may be wrong. `n`: predictions delivered, also those of frames that the
    motion gate let pass without inference.
    """

    index: int
    start_s: int
    end_s: int
    seconds: float
    is_complete: bool
    clock_stepped: bool
    n: int
    failures: int
    captured: int
    dropped: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None


def window_index(wall_s: float, length_s: int) -> int:
    """The window that `wall_s` (seconds since 1970-01-01 UTC) falls into; its bounds are multiples of `length_s`."""
    return math.floor(wall_s / length_s)


class WindowKeeper:
    """Sums up the open window. Call `advance` first, then `add_…` what has just arrived."""

    def __init__(self, length_s: int, *, wall_s: float, monotonic_ns: int) -> None:
        self._length_s = length_s
        self._last_wall_s = wall_s
        self._last_ns = monotonic_ns
        self._clock_stepped = False
        self._open(window_index(wall_s, length_s), monotonic_ns)

    @property
    def next_close_s(self) -> int:
        """When the open window ends, seconds since 1970-01-01 UTC."""
        return (self._index + 1) * self._length_s

    def add_prediction(self, prediction: Prediction) -> None:
        """Count a prediction that vision delivered, and its latency if it was inferred."""
        self._n += 1
        if prediction.invoke_ms is not None:
            self._latency.add(prediction.invoke_ms)

    def add_failure(self) -> None:
        """Count an inference that failed."""
        self._failures += 1

    def add_frames(self, captured: int, dropped: int) -> None:
        """Count frames the camera gave, and those of them that were replaced before inference had time for them."""
        self._captured += captured
        self._dropped += dropped

    def advance(self, wall_s: float, monotonic_ns: int) -> Aggregate | None:
        """Look at the clocks; close the open window once its time is over. Call it at least once a second."""
        drift_s = (wall_s - self._last_wall_s) - (monotonic_ns - self._last_ns) / 1e9
        self._clock_stepped |= abs(drift_s) > _STEP_S
        self._last_wall_s, self._last_ns = wall_s, monotonic_ns
        index = window_index(wall_s, self._length_s)
        if index <= self._index and self._observed_s(monotonic_ns) < _MAX_LENGTHS * self._length_s:
            return None
        aggregate = self._close(monotonic_ns, is_over=True)
        self._open(max(index, self._index), monotonic_ns)
        # A window opened while the clock is behind it has bounds that say nothing of when it was observed.
        self._clock_stepped = index < self._index
        return aggregate

    def close_now(self, monotonic_ns: int) -> Aggregate:
        """Close the open window before its time, at the stop of the daemon."""
        aggregate = self._close(monotonic_ns, is_over=False)
        self._open(self._index, monotonic_ns)
        return aggregate

    def _open(self, index: int, monotonic_ns: int) -> None:
        self._index = index
        self._opened_ns = monotonic_ns
        self._clock_stepped = False
        self._latency = LatencyHistogram()
        self._n = self._failures = self._captured = self._dropped = 0

    def _observed_s(self, monotonic_ns: int) -> float:
        return (monotonic_ns - self._opened_ns) / 1e9

    def _close(self, monotonic_ns: int, *, is_over: bool) -> Aggregate:
        seconds = self._observed_s(monotonic_ns)
        is_whole = abs(seconds - self._length_s) <= max(_EDGE_S, _EDGE_SHARE * self._length_s)
        return Aggregate(
            index=self._index,
            start_s=self._index * self._length_s,
            end_s=self.next_close_s,
            seconds=seconds,
            is_complete=is_over and is_whole and not self._clock_stepped,
            clock_stepped=self._clock_stepped,
            n=self._n,
            failures=self._failures,
            captured=self._captured,
            dropped=self._dropped,
            p50_ms=self._latency.percentile(50),
            p95_ms=self._latency.percentile(95),
            p99_ms=self._latency.percentile(99),
            max_ms=self._latency.max_ms,
        )
