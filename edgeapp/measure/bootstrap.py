"""The 95 % interval of a statistic by the bootstrap: resample the units that are independent, and see what it does.

Percentile method, seeded, so that the same measurement always has the same interval. Not for control's import path:
it needs NumPy. Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.int64]
REPEATS = 400
_SEED = 20
_TAILS = (2.5, 97.5)


def interval(units: int, statistic: Callable[[Weights], float]) -> tuple[float, float] | None:
    """The interval of a statistic of `units` things; None where there are too few to resample, or it is undefined.

    `statistic` gets how often each unit was drawn; where that leaves it undefined it answers NaN.
    """
    if units < 2:
        return None
    generator = np.random.default_rng(_SEED)
    drawn = (np.bincount(generator.integers(0, units, units), minlength=units) for _ in range(REPEATS))
    values = np.array([statistic(weights) for weights in drawn])
    values = values[np.isfinite(values)]
    if len(values) < REPEATS / 2:
        return None
    low, high = np.percentile(values, _TAILS)
    return float(low), float(high)
