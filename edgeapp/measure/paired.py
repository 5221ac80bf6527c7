"""What a quantized model does differently from its float twin on the same frames, pure: each figure with its interval.

With labels: the accuracy of both and the change, whose interval comes of drawing the same frames for both. The frames
are hard or easy for both alike, so that the change is known far better than either accuracy. A change whose interval
has 0 in it is no difference that these frames show.

Without labels: what the float model finds stands in for the truth. That tells what quantization changed, and nothing
of how right either is: a mistake that both make counts as right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeapp.measure.accuracy import AveragePrecision, Judged, Label, count_error, is_hit
from edgeapp.measure.bootstrap import Weights, interval
from edgeapp.measure.figures import Figure
from edgeapp.types import Detection

Found = Sequence[tuple[Detection, ...]]
Labels = Sequence[tuple[Label, ...]]
Counts = tuple[int, int, int]
"""Of one frame: references, candidates, matched. A classifier's frame is one of each, and matched or not."""
Statistic = Callable[[Weights], float]


@dataclass(frozen=True, slots=True)
class Paired:
    """One figure of both models. `change`: quantized less float; None where float is the yardstick itself."""

    quantized: Figure
    float_model: Figure | None = None
    change: Figure | None = None

    @property
    def is_different(self) -> bool:
        """Whether the change is more than these frames would give by chance."""
        change = self.change
        return (
            change is not None
            and change.low is not None
            and change.high is not None
            and not (change.low <= 0 <= change.high)
        )


def paired_detection(labels: Labels, float_found: Found, quantized_found: Found, min_score: float) -> dict[str, Paired]:
    """ap50, ap50_95 and count_error as `accuracy.detection_figures`; `found` with scores far below `min_score`, too."""
    of_float, of_quantized = (_detection(_judged(labels, found), min_score) for found in (float_found, quantized_found))
    return _all_paired(len(labels), of_float, of_quantized)


def paired_classification(labels: Labels, float_found: Found, quantized_found: Found) -> dict[str, Paired]:
    """top1 of both."""
    of_float, of_quantized = (
        {"top1": _mean([float(is_hit(frame)) for frame in _judged(labels, found)])}
        for found in (float_found, quantized_found)
    )
    return _all_paired(len(labels), of_float, of_quantized)


def agreement_figure(counts: Sequence[Counts]) -> Paired:
    """F1 = 2 · matched / (references + candidates) over all frames; 1 where nobody sees anything."""
    f1, ones = _f1(counts), np.ones(len(counts), np.int64)
    return Paired(Figure(f1(ones), *(interval(len(counts), f1) or ())))


def paired_agreement(before: Sequence[Counts], after: Sequence[Counts]) -> Paired:
    """The agreement of two candidates with the same reference on the same frames; `before` stands as the float one."""
    return _paired(len(before), _f1(before), _f1(after))


def _f1(counts: Sequence[Counts]) -> Statistic:
    table = np.array(counts, np.float64).reshape(-1, 3)

    def f1(weights: Weights) -> float:
        references, candidates, matched = weights @ table
        return float(2 * matched / (references + candidates)) if references + candidates else 1.0

    return f1


def _judged(labels: Labels, found: Found) -> list[Judged]:
    return [Judged(label, one) for label, one in zip(labels, found, strict=True)]


def _detection(frames: Sequence[Judged], min_score: float) -> dict[str, Statistic]:
    precision = AveragePrecision(frames)
    return {
        "ap50": lambda weights: precision.at(weights)[0],
        "ap50_95": lambda weights: precision.at(weights)[1],
        "count_error": _mean([float(count_error(frame, min_score)) for frame in frames]),
    }


def _mean(values: Sequence[float]) -> Statistic:
    return lambda weights: float(np.average(values, weights=weights))


def _all_paired(count: int, of_float: dict[str, Statistic], of_quantized: dict[str, Statistic]) -> dict[str, Paired]:
    """A figure that is undefined (nothing is labelled) is left out."""
    ones = np.ones(count, np.int64)
    return {
        name: _paired(count, statistic, of_quantized[name])
        for name, statistic in of_float.items()
        if count and np.isfinite(statistic(ones))
    }


def _paired(count: int, of_float: Statistic, of_quantized: Statistic) -> Paired:
    def change(weights: Weights) -> float:
        return of_quantized(weights) - of_float(weights)

    ones = np.ones(count, np.int64)
    return Paired(
        *(
            Figure(statistic(ones), *(interval(count, statistic) or ()))
            for statistic in (of_quantized, of_float, change)
        )
    )
