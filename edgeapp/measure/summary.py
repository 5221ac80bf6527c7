"""From the times of every frame to the figures of a profile, pure. Not for control's import path: it needs NumPy.

Frames that follow one another resemble one another, so the intervals resample 40 stretches of the run, not frames. In a
run that is still warming up no interval tells what comes later: that is what the steady figures are for.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeapp.measure.bootstrap import Weights, interval
from edgeapp.measure.figures import STAGES, Figure, Histogram, Moment

Reals = npt.NDArray[np.float64]
_STRETCHES = 40
_MOMENTS = 200
_BINS = 40
_LEAST_MOMENT_S = 0.5
_PERCENTILES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


@dataclass(frozen=True, slots=True)
class BoardPoint:
    """The board at one time of the run."""

    time_s: float
    temp_c: float | None
    clock_mhz: float | None


class Recording:
    """The frames of a run: when each was done, and what its stages took."""

    def __init__(self, rows: Sequence[float]) -> None:
        """`rows`: of each frame its time in s, then ms of decode, preprocess, invoke, postprocess."""
        table = np.asarray(rows, np.float64).reshape(-1, 1 + len(STAGES))
        self.times_s, self._stages_ms = table[:, 0], table[:, 1:]
        self.latency_ms: Reals = self._stages_ms.sum(axis=1)

    def since(self, time_s: float) -> Recording:
        """The part of it from then on."""
        later = self.times_s >= time_s
        return Recording(np.column_stack([self.times_s, self._stages_ms])[later].ravel().tolist())

    def stages_ms(self) -> dict[str, float]:
        """The mean of each stage that took any time."""
        means = self._stages_ms.mean(axis=0)
        return {name: float(mean) for name, mean in zip(STAGES, means, strict=True) if mean > 0}

    def figures(self, prefix: str = "") -> dict[str, Figure]:
        """p50_ms, p95_ms, p99_ms, worst_ms and fps, with `prefix` before each name."""
        count = len(self.latency_ms)
        stretches = min(_STRETCHES, count)
        stretch_of = np.arange(count) * stretches // count
        order = np.argsort(self.latency_ms)
        ordered, owners = self.latency_ms[order], stretch_of[order]
        total_ms = np.bincount(stretch_of, np.diff(self.times_s, prepend=self.times_s[0]) * 1e3, stretches)
        sizes = np.bincount(stretch_of, minlength=stretches)

        def percentile(weights: Weights, share: float) -> float:
            reached = np.cumsum(weights[owners])
            return float(ordered[np.searchsorted(reached, share * reached[-1])])

        def fps(weights: Weights) -> float:
            return 1e3 * float(weights @ sizes) / max(float(weights @ total_ms), 1e-6)

        ones = np.ones(stretches, np.int64)
        found = {}
        for name, share in _PERCENTILES.items():
            statistic = functools.partial(percentile, share=share)
            found[prefix + name] = Figure(statistic(ones), *(interval(stretches, statistic) or ()))
        found[prefix + "worst_ms"] = Figure(float(ordered[-1]))
        found[prefix + "fps"] = Figure(fps(ones), *(interval(stretches, fps) or ()))
        return found

    def start_p50_ms(self, within_s: float) -> float:
        """The median of the first seconds."""
        return float(np.median(self.latency_ms[self.times_s <= self.times_s[0] + within_s]))

    def moments(self, board: Sequence[BoardPoint]) -> tuple[Moment, ...]:
        """The run in at most 200 stretches of equal length, half a second or more; without those that have no frame."""
        step_s = max(float(self.times_s[-1]) / _MOMENTS, _LEAST_MOMENT_S)
        owners = np.minimum((self.times_s / step_s).astype(np.intp), _MOMENTS - 1)
        edges = np.flatnonzero(np.diff(owners)) + 1
        moments = []
        point, rest = BoardPoint(0.0, None, None), list(reversed(board))
        for values, owner in zip(np.split(self.latency_ms, edges), owners[np.append(0, edges)], strict=True):
            end_s = float((owner + 1) * step_s)
            while rest and rest[-1].time_s <= end_s:
                point = rest.pop()
            median_ms, p95_ms = np.percentile(values, (50, 95))
            moments.append(
                Moment(
                    time_s=end_s,
                    median_ms=float(median_ms),
                    p95_ms=float(p95_ms),
                    temp_c=point.temp_c,
                    clock_mhz=point.clock_mhz,
                )
            )
        return tuple(moments)

    def histogram(self) -> Histogram:
        """Up to the latency that 99.5 % of the frames keep; the rest is in the last bin."""
        low, high = np.percentile(self.latency_ms, (0, 99.5))
        step = max((high - low) / _BINS, 1e-3)
        bins = np.minimum(((self.latency_ms - low) / step).astype(np.intp), _BINS - 1)
        counts = tuple(int(count) for count in np.bincount(bins, minlength=_BINS))
        return Histogram(low_ms=float(low), step_ms=float(step), counts=counts)
