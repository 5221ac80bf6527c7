"""When latency and temperature have settled, pure: so that a measured latency is the one that lasts.

Owns the rule and the memory of the last half hour; gets times as arguments. Feed it while the load runs; it answers
settled, not yet, or cannot say, with the reason in words.

A board warms up with two time constants: about a second for the chip, 60 to 500 s for board and case. What follows
the slow one ends at x(t) = x_end - a * exp(-t / tau), so what is still to come is its slope times tau: the rest is
a * exp(-t / tau), the slope a / tau * exp(-t / tau). tau is not known while it goes on, so the longest one stands in
for it: the bound is wide for a quick board and never narrow. A value is *at rest* over a window when

    longest_tau_s * |slope| <= tolerance,   for every slope of Sen's 95 % interval                             (1)
    the newest blocks, a fifth of `window_s`, and each quarter of the window lie within the tolerance of its median,
    and four fifths of it within twice the tolerance                                                           (2)

(1) is the slope of Theil and Sen over blocks of a thirtieth of `window_s`, of latency the median and of temperature the
mean of the middle half: neither a slow frame nor a wrong reading moves it, and the mean sees between the sensor's steps
of 0.5 °C as far as its noise lets it. Should it have no noise at all, a sensor that stands still over 300 s may hide
0.5 / 300 * 500 = 0.83 °C of what is to come. (2) is for what no straight line tells: a step, a hill, a swing. Where
noise makes the interval too wide, windows twice and four times as long are tried; if none will do, the answer is
cannot say.

A value that swings for ever (a fan that starts and stops, a firmware that throttles and lets go) is settled, too, when
the swing itself no longer changes: at least four whole cycles in a window of up to six times `window_s`, (1) for the
slope of the cycles' means, both halves of the cycles with the same mean within the tolerance, and heights that grow or
shrink by at most a quarter, by (1) as well. Then the reason says between what it swings, since the median alone would
mislead. Strong noise shows as such a swing. A cycle of more than about `window_s` is too long to be known as one.

What has settled stays so until it breaks the rules with one and a half times the tolerance. A step does that within
about 40 s, and then a new window is needed, but for the tenth of it that does not count as spread.

Without a thermometer latency decides alone, and not before three longest time constants of load: until then the heat
may still be on its way to where the firmware throttles, and latency tells nothing of it.

Sources: H. Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950; P. K. Sen, "Estimates
of the regression coefficient based on Kendall's tau", J. Amer. Statist. Assoc. 63 (1968), for slope and interval.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import TypeVar

_T = TypeVar("_T")

_BLOCKS = 30  # of one window
_LONGER = (1.0, 2.0, 4.0)
_LONGER_FOR_SWINGS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
_NEWEST_BLOCKS = _BLOCKS // 5
_BY_CHANCE = 2.3  # three standard errors of a median of six, in medians of the absolute deviations
_TAILS = 10  # a tenth at either end does not count as spread
_KEPT = 1.5  # times the tolerance, for what has settled
_MIN_FILLED = 0.75
_Z_95 = 1.96
_MIN_CYCLES = 4
_SAME_HEIGHT = 0.25
_TAUS_WITHOUT_SENSOR = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SteadyLimits:
    """What counts as settled: at most this much change is still to come. The defaults suit a Raspberry Pi."""

    window_s: float = 300.0
    longest_tau_s: float = 500.0
    latency_pct: float = 3.0
    temp_c: float = 1.0


class Answer(enum.Enum):
    """What can be said of latency and temperature together."""

    SETTLED = "settled"
    NOT_YET = "not yet"
    CANNOT_SAY = "cannot say"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer and its reason; only when settled since when, and the median latency since then.

    The median is that of the blocks' medians, of the last half hour at most.
    """

    answer: Answer
    reason: str
    median_ms: float | None = None
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Block:
    """One thirtieth of a window."""

    time_s: float
    latency_ms: float
    temp_c: float | None


@dataclass(frozen=True, slots=True)
class _Quantity:
    """Latency or temperature over time, with the change that is let pass."""

    name: str
    unit: str
    tolerance: float
    times_s: tuple[float, ...]
    values: tuple[float, ...]

    def last(self, span_s: float) -> _Quantity:
        """The newest `span_s` of it."""
        first = next(index for index, time_s in enumerate(self.times_s) if time_s > self.times_s[-1] - span_s)
        return _Quantity(self.name, self.unit, self.tolerance, self.times_s[first:], self.values[first:])

    def spread(self) -> tuple[float, float]:
        """Between what four fifths of it lie."""
        ordered, tail = sorted(self.values), len(self.values) // _TAILS
        return ordered[tail], ordered[-1 - tail]

    def say(self, value: float) -> str:
        return f"{value:.1f} {self.unit}"


@dataclass(frozen=True, slots=True)
class _Finding:
    """What can be said of one quantity. `start_s`: since when it is as it is."""

    answer: Answer
    reason: str
    start_s: float = 0.0


class SteadyState:
    """Remembers blocks of samples and judges whenever one is full: memory and work are bounded."""

    def __init__(self, limits: SteadyLimits = SteadyLimits()) -> None:
        self._limits = limits
        self._block_s = limits.window_s / _BLOCKS
        self._blocks: deque[_Block] = deque(maxlen=round(_LONGER_FOR_SWINGS[-1] * _BLOCKS))
        self._began_s: float | None = None
        self._open_index = 0
        self._newest_s = -math.inf
        self._latencies_ms: list[float] = []
        self._temps_c: list[float] = []
        self._since_s: float | None = None
        self._verdict = Verdict(Answer.NOT_YET, "no samples yet")

    def add(self, time_s: float, latency_ms: float, temp_c: float | None) -> None:
        """Take one sample: a latency and the temperature at that time, None where no sensor answers.

        Raises:
            ValueError: a value is not finite, or the time is before that of the last sample.
        """
        for name, value in (("time_s", time_s), ("latency_ms", latency_ms), ("temp_c", temp_c)):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{name}: expected a finite number, found {value}")
        if time_s < self._newest_s:
            raise ValueError(f"time_s: expected at least {self._newest_s}, that of the last sample, found {time_s}")
        self._newest_s = time_s
        if self._began_s is None:
            self._began_s = time_s
        index = int((time_s - self._began_s) / self._block_s)
        if index != self._open_index:
            self._close_block(self._began_s)
            self._open_index = index
        self._latencies_ms.append(latency_ms)
        if temp_c is not None:
            self._temps_c.append(temp_c)

    def verdict(self) -> Verdict:
        """As of the last full block, that is of at most a thirtieth of `window_s` ago."""
        return self._verdict

    def _close_block(self, began_s: float) -> None:
        time_s = began_s + (self._open_index + 0.5) * self._block_s
        temp_c = _middle_mean(self._temps_c) if self._temps_c else None
        self._blocks.append(_Block(time_s, median(self._latencies_ms), temp_c))
        self._latencies_ms, self._temps_c = [], []
        self._verdict = self._judge(time_s + self._block_s / 2 - began_s)

    def _judge(self, elapsed_s: float) -> Verdict:
        """`elapsed_s`: since the first sample."""
        findings = self._findings(elapsed_s)
        for answer in (Answer.NOT_YET, Answer.CANNOT_SAY):
            reasons = [finding.reason for finding in findings if finding.answer is answer]
            if reasons:
                self._since_s = None
                return Verdict(answer, "; ".join(reasons))
        if self._since_s is None:
            self._since_s = max(finding.start_s for finding in findings)
        median_ms = median(block.latency_ms for block in self._blocks if block.time_s >= self._since_s)
        return Verdict(Answer.SETTLED, "; ".join(finding.reason for finding in findings), median_ms, self._since_s)

    def _findings(self, elapsed_s: float) -> list[_Finding]:
        limits, blocks = self._limits, self._blocks
        kept = 1.0 if self._since_s is None else _KEPT
        if elapsed_s < limits.window_s * (1 - 0.5 / _BLOCKS):
            return [_Finding(Answer.NOT_YET, f"measured for {elapsed_s:.0f} of at least {limits.window_s:.0f} s")]
        newest = [block for block in blocks if block.time_s > blocks[-1].time_s - limits.window_s]
        known = [block for block in newest if block.temp_c is not None]
        if len(newest) < _MIN_FILLED * _BLOCKS:
            return [_Finding(Answer.CANNOT_SAY, f"samples in only {len(newest)} of the last {_BLOCKS} blocks")]
        latency = _Quantity(
            "latency",
            "ms",
            kept * limits.latency_pct / 100 * median(block.latency_ms for block in newest),
            tuple(block.time_s for block in blocks),
            tuple(block.latency_ms for block in blocks),
        )
        findings = [_find(latency, limits)]
        if len(known) >= _MIN_FILLED * len(newest):
            pairs = [(block.time_s, block.temp_c) for block in blocks if block.temp_c is not None]
            times_s, temps_c = zip(*pairs, strict=True)
            findings.append(_find(_Quantity("temperature", "°C", kept * limits.temp_c, times_s, temps_c), limits))
        elif known:
            findings.append(
                _Finding(Answer.CANNOT_SAY, f"temperature in only {len(known)} of the last {len(newest)} blocks")
            )
        else:
            findings.append(_without_sensor(elapsed_s, limits))
        return findings


def _without_sensor(elapsed_s: float, limits: SteadyLimits) -> _Finding:
    needed_s = _TAUS_WITHOUT_SENSOR * limits.longest_tau_s
    if elapsed_s < needed_s:
        return _Finding(
            Answer.NOT_YET, f"no temperature, so the load must last {needed_s:.0f} s, found {elapsed_s:.0f} s"
        )
    return _Finding(Answer.SETTLED, f"no temperature: judged by latency alone, after {needed_s:.0f} s of load")


def _find(quantity: _Quantity, limits: SteadyLimits) -> _Finding:
    """At rest, or swinging steadily; otherwise what the shortest window that there is says against it."""
    against: _Finding | None = None
    history_s = quantity.times_s[-1] - quantity.times_s[0] + limits.window_s / _BLOCKS
    for longer in _LONGER:
        if against is None or history_s > (longer - 1 / _BLOCKS) * limits.window_s:
            finding = _at_rest(quantity.last(longer * limits.window_s), limits.longest_tau_s)
            if finding.answer is Answer.SETTLED:
                return finding
            against = against or finding
    for longer in _LONGER_FOR_SWINGS:
        if history_s > (longer - 1 / _BLOCKS) * limits.window_s:
            swinging = _swinging(quantity.last(longer * limits.window_s), limits.longest_tau_s)
            if swinging is not None:
                return swinging
    assert against is not None, "no window was tried"
    return against


def _at_rest(window: _Quantity, tau_s: float) -> _Finding:
    """(1) and (2) of the module's docstring."""
    name, values, level = window.name, window.values, median(window.values)
    newest = median(values[-_NEWEST_BLOCKS:])
    slope, low, high = _sen(window.times_s, values)
    bound = tau_s * max(abs(low), abs(high))
    if not low <= 0 <= high and bound > window.tolerance:
        reason = (
            f"{name} still {'rises' if slope > 0 else 'falls'}: {window.say(tau_s * abs(slope))} may be to come, "
            f"expected at most {window.say(window.tolerance)}"
        )
        return _Finding(Answer.NOT_YET, reason)
    by_chance = 0.0 if bound <= window.tolerance else _BY_CHANCE * median(abs(value - level) for value in values)
    if abs(newest - level) > window.tolerance + by_chance:
        return _Finding(Answer.NOT_YET, f"{name} has changed from {window.say(level)} to {window.say(newest)}")
    if bound > window.tolerance:
        reason = f"{name} is too restless: anything up to {window.say(bound)} may still be to come"
        return _Finding(Answer.CANNOT_SAY, reason)
    is_same = all(abs(median(part) - level) <= window.tolerance for part in _parts(values, 4))
    bottom, top = window.spread()
    if not is_same or top - bottom > 2 * window.tolerance:
        return _Finding(Answer.NOT_YET, f"{name} still varies between {window.say(bottom)} and {window.say(top)}")
    reason = f"{name} rests at {window.say(level)}, at most {window.say(bound)} still to come"
    first = next(index for index, value in enumerate(values) if abs(value - level) <= window.tolerance)
    return _Finding(Answer.SETTLED, reason, window.times_s[first])


def _swinging(window: _Quantity, tau_s: float) -> _Finding | None:
    """Whether it swings in a way that lasts; None when it does not swing so, or not often enough to say."""
    bottom, top = window.spread()
    if top - bottom <= window.tolerance:
        return None
    starts = _upward(window.values, (top + bottom) / 2, (top - bottom) / 4)
    if len(starts) <= _MIN_CYCLES:
        return None
    cycles = [window.values[start:end] for start, end in pairwise(starts)]
    if len(window.values) - starts[-1] > 1.5 * max(map(len, cycles)):
        return None  # it has ceased to swing
    means, heights = [fmean(cycle) for cycle in cycles], [max(cycle) - min(cycle) for cycle in cycles]
    times_s = [window.times_s[start] for start in starts[:-1]]
    middle = starts[len(cycles) // 2]
    step = abs(fmean(window.values[middle : starts[-1]]) - fmean(window.values[starts[0] : middle]))
    drift, growth = (tau_s * abs(_sen(times_s, series)[0]) for series in (means, heights))
    if max(step, drift) > window.tolerance or growth > max(window.tolerance, _SAME_HEIGHT * median(heights)):
        return None
    period_s = (window.times_s[starts[-1]] - window.times_s[starts[0]]) / len(cycles)
    between = f"between {window.say(bottom)} and {window.say(top)}"
    reason = f"{window.name} swings steadily {between}, about every {period_s:.0f} s"
    return _Finding(Answer.SETTLED, reason, window.times_s[starts[0]])


def _upward(values: Sequence[float], centre: float, margin: float) -> list[int]:
    """Where the values rise above the centre by the margin, having been below it by the margin."""
    was_low, starts = False, []
    for index, value in enumerate(values):
        if value <= centre - margin:
            was_low = True
        elif value >= centre + margin and was_low:
            was_low = False
            starts.append(index)
    return starts


def _sen(times_s: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """The slope per second of Theil and Sen, and the ends of its 95 % interval. Needs two points or more."""
    count = len(values)
    slopes = sorted(
        (values[later] - values[earlier]) / (times_s[later] - times_s[earlier])
        for later in range(count)
        for earlier in range(later)
    )
    width = _Z_95 * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low, high = math.floor((len(slopes) - width) / 2), math.ceil((len(slopes) + width) / 2)
    return median(slopes), slopes[max(0, low)], slopes[min(len(slopes) - 1, high)]


def _middle_mean(values: Sequence[float]) -> float:
    """The mean of the middle half: as robust as quartiles, and finer than the steps of the sensor."""
    cut = len(values) // 4
    return fmean(sorted(values)[cut : len(values) - cut])


def _parts(values: Sequence[_T], count: int) -> list[Sequence[_T]]:
    """The values in `count` parts of nearly the same length, in their order."""
    edges = [len(values) * index // count for index in range(count + 1)]
    return [values[start:end] for start, end in pairwise(edges)]
