"""Sites whose confidences are known, and how often a watch raises an alarm over their released histograms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from edgeapp.telemetry.drift import BASELINE_DAYS, DriftWatch
from edgeapp.telemetry.noise import standard_deviation
from edgeapp.types import CONFIDENCE_EDGES

CELLS = len(CONFIDENCE_EDGES) + 1
MODEL = "model-1"
# (mean, standard deviation) of the tracks' confidences
SITES = ((0.9, 0.05), (0.8, 0.1), (0.7, 0.12))
DROP = -0.04
_LEAST_SCORE = 0.5


class Site:
    """Draws released histograms of a site, a day each."""

    def __init__(self, mean: float, deviation: float, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._mean, self._deviation = mean, deviation

    def shares(self, shift: float = 0.0) -> NDArray[np.float64]:
        """How the confidences from the minimum score on fall into the cells."""
        total = self._mean * (1 - self._mean) / self._deviation**2 - 1
        drawn = self._rng.beta(self._mean * total, (1 - self._mean) * total, 100_000) + shift
        kept = np.clip(drawn, 0, 1)[drawn >= _LEAST_SCORE]
        counts = np.bincount(np.searchsorted(CONFIDENCE_EDGES, kept, side="right"), minlength=CELLS)
        return np.asarray(counts / counts.sum())

    def released(
        self, shares: NDArray[np.float64], tracks: int, scale: Fraction, rows: int, days: int = 1
    ) -> list[list[int]]:
        """Noised histograms, each the sum of so many `days`."""
        stop = -math.expm1(-1 / scale)
        # A discrete Laplace value is the difference of two geometric ones.
        up, down = (self._rng.negative_binomial(days, stop, (rows, CELLS)) for _ in range(2))
        released: list[list[int]] = (self._rng.multinomial(days * tracks, shares, rows) + up - down).tolist()
        return released

    def days(self, tracks: int, scale: Fraction, days: int, shift: float = 0.0) -> Iterator[list[int]]:
        """One released histogram after the other."""
        yield from self.released(self.shares(shift), tracks, scale, days)


def alarm_rate(site: tuple[float, float], scale: Fraction, tracks: int, days: int, *, shift: float, seed: int) -> float:
    """The share of days, each with a baseline of its own, that are called drifting."""
    place = Site(*site, seed)
    variance = BASELINE_DAYS * standard_deviation(scale) ** 2
    baselines = place.released(place.shares(), tracks, scale, days, BASELINE_DAYS)
    alarms = 0
    for baseline, day in zip(baselines, place.days(tracks, scale, days, shift), strict=True):
        watch = DriftWatch(model=MODEL, days=BASELINE_DAYS, counts=tuple(baseline), noise_variance=variance)
        alarms += watch.step(day, scale, model=MODEL, shipped=None)[1].drifting is True
    return alarms / days
