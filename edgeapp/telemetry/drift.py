"""Whether a model's confidences have changed, judged once a day from released histograms alone; pure.

Owns the population stability index (PSI) of two histograms with noise, the threshold that it stays below while nothing
changes, and the baseline of the site's own first days. Reads noised values only, so that judging them costs no budget
(post-processing), and needs no labels. That is why it is not accuracy: a model may err with the same confidence as
before, and a change may be a new season, not a fault.

With p and q the two histograms, each as shares, PSI = Σ (p - q) · ln(p / q). Three things are done about the noise:
- Each cell of both gets the variance of its noise added before it becomes a share. PSI times the sum of the day's
  cells is then close to Σ difference² / variance, the weighting that finds a change best; empty cells weigh next to
  nothing, and nearly no cell is negative. A cell still below half of the noise's variance is raised to that.
- The threshold is a quantile of the gamma distribution with the mean and the variance that Σ difference² / variance
  has while nothing changes: from the multinomial draws and from the noise, of both histograms.
- No threshold lies below `LEAST_PSI`: days differ a little in truth, and with many tracks every difference would show.

The quantile is that for one day in a hundred million. The noise has heavier tails than a gamma distribution, so the
true rate is higher: at most one clean day in ten thousand (measured by `scripts/drift-lab`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Annotated

from edgeapp.reader import Length, Range
from edgeapp.telemetry.noise import standard_deviation
from edgeapp.types import CONFIDENCE_EDGES

BASELINE_DAYS = 7
LEAST_PSI = 0.01  # a shift of the mean by a tenth of the standard deviation
_CELLS = len(CONFIDENCE_EDGES) + 1
_NORMAL_QUANTILE = 5.612  # exceeded once in a hundred million
_FLOOR = 0.5
_LEAST_TRACKS = 100
_LEAST_SCALES = 30


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far a day lies from a baseline, and how far it may without a change."""

    psi: float
    threshold: float

    @property
    def is_exceeded(self) -> bool:
        """Whether the day differs by more than chance and noise explain."""
        return self.psi > self.threshold


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One day against the baseline shipped with the model, and against the site's own.

    None: there is no such baseline (yet), or too few tracks to judge. A site may differ from where the model was made
    for good; so only a change against its own baseline is called drift.
    """

    shipped: Comparison | None
    site: Comparison | None

    @property
    def drifting(self) -> bool | None:
        """Whether this day differs from the site's own first days; None while that cannot be said."""
        return None if self.site is None else self.site.is_exceeded


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftWatch:
    """The baseline of a site: the sum of `days` released histograms under one model, with the variance of their noise.

    `edgeapp.reader.read_json` reads back what `as_json` writes.
    """

    model: str = ""
    days: Annotated[int, Range(0, BASELINE_DAYS, "days")] = 0
    counts: Annotated[tuple[int, ...], Length(_CELLS, _CELLS, "cells")] = (0,) * _CELLS
    noise_variance: Annotated[float, Range(0, 1e12, "per cell")] = 0.0

    def step(
        self, counts: Sequence[int], scale: Fraction, *, model: str, shipped: Sequence[int] | None
    ) -> tuple[DriftWatch, DriftReport]:
        """Judge one day; the watch for the next day and the report of this one.

        Args:
            counts: the noised cells of the family confidence, of one day.
            scale: of their noise.
            model: what identifies the model of that day. Another one than before begins a new baseline.
            shipped: the manifest's `expected_confidence`.
        """
        watch = self if model == self.model else DriftWatch(model=model)
        variance = standard_deviation(scale) ** 2
        if sum(counts) < max(_LEAST_TRACKS, _LEAST_SCALES * float(scale)):
            return watch, DriftReport(None, None)
        against_shipped = None if shipped is None else _compare(counts, variance, shipped, 0.0)
        if watch.days == BASELINE_DAYS:
            own = _compare(counts, variance, watch.counts, watch.noise_variance)
            return watch, DriftReport(against_shipped, own)
        grown = replace(
            watch,
            days=watch.days + 1,
            counts=tuple(old + new for old, new in zip(watch.counts, counts, strict=True)),
            noise_variance=watch.noise_variance + variance,
        )
        return grown, DriftReport(against_shipped, None)

    def as_json(self) -> str:
        """The watch for the disk: noised values only."""
        return json.dumps(asdict(self))


def _compare(day: Sequence[int], day_variance: float, baseline: Sequence[int], baseline_variance: float) -> Comparison:
    """PSI and threshold of a day against a baseline; the variances are of the noise in one cell."""
    tracks = sum(day)
    ratio = tracks / sum(baseline)
    noise = day_variance + baseline_variance * ratio**2
    cumulant = 3 * (day_variance**2 + baseline_variance**2 / BASELINE_DAYS * ratio**4)  # the fourth, of Laplace noise
    p, q = _smoothed(day, noise), _smoothed([cell * ratio for cell in baseline], noise)
    psi = math.fsum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    pooled = [max(0, a + b) for a, b in zip(day, baseline, strict=True)]
    shares = [cell / sum(pooled) for cell in pooled]
    limit = _null_quantile(shares, tracks * (1 + ratio), tracks, noise, cumulant)
    return Comparison(psi, max(LEAST_PSI, limit / (tracks + len(day) * noise)))


def _smoothed(cells: Sequence[float], noise: float) -> list[float]:
    # Half a track stands in where there is no noise and no track: the logarithm needs something.
    raised = [max(cell + noise, _FLOOR * noise, 0.5) for cell in cells]
    total = math.fsum(raised)
    return [cell / total for cell in raised]


def _null_quantile(shares: Sequence[float], spread: float, tracks: int, noise: float, cumulant: float) -> float:
    """What Σ difference² / weight exceeds once in a hundred million days without a change.

    The differences have the covariances -spread · p_i · p_j, and the variances spread · p_i · (1 - p_i) + noise; each
    weight is tracks · p_i + noise. Fourth cumulants: of the noise, and of a Poisson count.
    """
    weights = [max(tracks * p + noise, 0.5) for p in shares]
    variances = [spread * p * (1 - p) + noise for p in shares]
    cells = list(zip(shares, variances, weights, strict=True))
    mean = math.fsum(variance / weight for _, variance, weight in cells)
    mixed = math.fsum(p**2 / weight for p, _, weight in cells) ** 2 - math.fsum((p**2 / w) ** 2 for p, _, w in cells)
    own = math.fsum((2 * variance**2 + cumulant + spread * p) / weight**2 for p, variance, weight in cells)
    # Wilson and Hilferty (1931): the cube root of a gamma variable is close to normal.
    ninth = (own + 2 * spread**2 * mixed) / mean**2 / 9
    return mean * (1 - ninth + _NORMAL_QUANTILE * math.sqrt(ninth)) ** 3
