"""Whether one device does worse than another beside it, from what both did in the same spans; pure.

Two devices run at the same time, so that other load meets both, and take turns in what is tried, so that what differs
between them otherwise cancels out. A span is one unit: ratios are of all spans together, and their intervals come of
drawing spans anew (the bootstrap of B. Efron, 1979, percentiles). The answer is only ever as sure as the interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Verdict = Literal["within", "worse", "too noisy to tell"]
LEAST_SPANS = 12  # of fewer, an interval is too narrow
_REPEATS = 4000
_SEED = 9
_TAIL_PCT = 0.05
_Drawn = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """One device in one span: frames, the seconds that they took, CPU seconds, and latencies of its frames, ms."""

    frames: int
    seconds: float
    cpu_s: float
    latencies_ms: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """The ratio of one to the other, its interval (99.9 %), and what can be said."""

    ratio: float
    low: float
    high: float
    verdict: Verdict


Pairs = Sequence[tuple[Pace, Pace]]
"""Without what is tried, and with it, in the same span."""


def frame_rate(pairs: Pairs, limit: float) -> Change:
    """Frames a second; less is worse."""
    return _change(pairs, lambda pace: pace.frames / pace.seconds, limit, is_more_better=True)


def latency(pairs: Pairs, limit: float) -> Change:
    """The median latency of a span's frames; more is worse."""
    return _change(pairs, lambda pace: float(np.median(pace.latencies_ms)), limit, is_more_better=False)


def cpu_time(pairs: Pairs, limit: float) -> Change:
    """CPU seconds of a frame; more is worse."""
    return _change(pairs, lambda pace: pace.cpu_s / pace.frames, limit, is_more_better=False)


def _change(pairs: Pairs, figure: Callable[[Pace], float], limit: float, *, is_more_better: bool) -> Change:
    logs = [
        math.log(figure(with_it) / figure(without)) for without, with_it in pairs if with_it.frames and without.frames
    ]
    if len(logs) < LEAST_SPANS:
        middle = math.exp(float(np.median(logs))) if logs else math.nan
        return Change(ratio=middle, low=0.0, high=math.inf, verdict="too noisy to tell")
    low, high = (math.exp(each) for each in _interval(np.array(logs)))
    worst, best = (1 / low, 1 / high) if is_more_better else (high, low)
    bound = 1 / (1 - limit) if is_more_better else 1 + limit
    verdict: Verdict = "within" if worst <= bound else "worse" if best > bound else "too noisy to tell"
    return Change(ratio=math.exp(float(np.median(logs))), low=low, high=high, verdict=verdict)


def _interval(logs: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Of the median."""
    generator = np.random.default_rng(_SEED)
    drawn: _Drawn = generator.integers(0, len(logs), (_REPEATS, len(logs)))
    low, high = np.percentile(np.median(logs[drawn], axis=1), (_TAIL_PCT, 100 - _TAIL_PCT))
    return float(low), float(high)
