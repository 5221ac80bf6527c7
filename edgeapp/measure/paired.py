"""What a quantized model does differently from its float twin on the same frames, pure: each figure with its interval.

With labels: the accuracy of both and the change, whose interval comes of drawing the same frames for both. The frames
are hard or easy for both alike, so that the change is known far better than either accuracy. A change whose interval
has 0 in it is no difference that these frames show.

Without labels: what the float model finds stands in for the truth. That tells what quantization changed, and nothing
of how right either is: a mistake that both make counts as right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeapp.measure.accuracy import (
    Judged,
    Label,
    Statistic,
    classification_statistics,
    detection_statistics,
    figures_of,
)
from edgeapp.measure.bootstrap import Weights
from edgeapp.measure.figures import Figure
from edgeapp.types import Detection

Found = Sequence[tuple[Detection, ...]]
Labels = Sequence[tuple[Label, ...]]
Counts = tuple[int, int, int]
"""Of one frame: references, candidates, matched. A classifier's frame is one of each, and matched or not."""


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

    @property
    def is_better(self) -> bool:
        """Whether the quantized figure is higher, by more than chance."""
        return self.is_different and self.change is not None and self.change.value > 0


def paired_detection(labels: Labels, float_found: Found, quantized_found: Found, min_score: float) -> dict[str, Paired]:
    """ap50, ap50_95 and count_error as `accuracy.detection_figures`; `found` with scores far below `min_score`, too."""
    before, after = (
        detection_statistics(_judged(labels, found), min_score) for found in (float_found, quantized_found)
    )
    return _paired(len(labels), before, after)


def paired_classification(labels: Labels, float_found: Found, quantized_found: Found) -> dict[str, Paired]:
    """top1 of both."""
    before, after = (classification_statistics(_judged(labels, found)) for found in (float_found, quantized_found))
    return _paired(len(labels), before, after)


def agreement_figures(counts: Sequence[Counts]) -> dict[str, Paired]:
    """agreement: F1 = 2 · matched / (references + candidates) over all frames; 1 where nobody sees anything."""
    return {name: Paired(figure) for name, figure in figures_of(len(counts), _agreement(counts)).items()}


def paired_agreement(before: Sequence[Counts], after: Sequence[Counts]) -> dict[str, Paired]:
    """The agreement of two candidates with the same reference on the same frames; `before` stands as the float one."""
    return _paired(len(before), _agreement(before), _agreement(after))


def _agreement(counts: Sequence[Counts]) -> dict[str, Statistic]:
    table = np.array(counts, np.float64).reshape(-1, 3)

    def f1(weights: Weights) -> float:
        references, candidates, matched = weights @ table
        return float(2 * matched / (references + candidates)) if references + candidates else 1.0

    return {"agreement": f1}


def _judged(labels: Labels, found: Found) -> list[Judged]:
    return [Judged(label, one) for label, one in zip(labels, found, strict=True)]


def _paired(count: int, before: Mapping[str, Statistic], after: Mapping[str, Statistic]) -> dict[str, Paired]:
    """A figure that is undefined (nothing is labelled) is left out."""
    changes = {name: _difference(after[name], statistic) for name, statistic in before.items()}
    of_float, of_quantized, of_change = (figures_of(count, each) for each in (before, after, changes))
    return {name: Paired(of_quantized[name], of_float[name], of_change[name]) for name in of_change}


def _difference(one: Statistic, other: Statistic) -> Statistic:
    return lambda weights: one(weights) - other(weights)
