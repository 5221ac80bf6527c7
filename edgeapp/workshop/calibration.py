"""Whether the samples of a calibration are like what the model is judged on, pure.

Accuracy alone does not tell: with black and white among the samples the input's range is right whatever the samples
are, and a network with bounded activations (ReLU6) may lose little on the few frames at hand. Two things do:

- the pixels of the samples. Where 98 of 100 lie within a few levels there is next to nothing to see in them.
- the values inside the network. Each layer has the range that the samples gave it; a value beyond is cut off. That
  happens now and then with any samples. Where it costs a layer more than its rounding to whole steps does (step² / 12
  a value), the layer saturates; where many do, the samples are not like the frames.

The limit was set on the demo's detector and video, evaluated on 25 frames. Share of layers that saturate: none with 50
frames of the video, or the same at half the brightness; 0.09 with 10; 0.11 to 0.18 with one to five, or with the first
ten; 0.08 at a fifth of the brightness, 0.18 at a tenth, 0.33 at a 25th (near black), 0.39 with black and white alone.
A classifier for 96 x 96 pixels (MobileNetV1, same video) bears it out: none with 50 frames or 10, 0.13 with the first
ten, 0.33 with a single one, 0.23 at half the brightness, 0.43 near black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = 256
BIN = 4  # levels, of the shares that are drawn
MOST_SATURATED = 1 / 6
"""Of the layers."""
_FEWEST_SATURATED = 2
LEAST_SPREAD = 32
"""Levels between the darkest and the brightest hundredth of the samples' pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The pixels of a set of pictures: the levels, 0 to 255, that 1, 50 and 99 of 100 reach at most.

    `shares`: of all pixels, in bins of four levels.
    """

    low: int
    median: int
    high: int
    shares: tuple[float, ...] = ()

    @property
    def spread(self) -> int:
        """Between the darkest and the brightest hundredth."""
        return self.high - self.low


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a layer's range cuts off: the share of its values, and the error power of it in those of its rounding."""

    name: str
    share: float
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of a calibration: the pixels of its pictures and of the evaluation's, and what each layer cuts off
    of the latter."""

    samples: Levels
    evaluation: Levels
    cuts: tuple[Cut, ...]

    @property
    def saturating(self) -> tuple[Cut, ...]:
        """The layers that saturate, the worst first."""
        return tuple(sorted((cut for cut in self.cuts if cut.power > 1), key=lambda cut: -cut.power))


def levels_of(counts: Sequence[int]) -> Levels:
    """Of a histogram of pixels, one count for each level.

    Raises:
        ValueError: there are no pixels.
    """
    total, reached, found = sum(counts), 0, []
    if not total:
        raise ValueError("expected pixels, found none")
    shares = [0.01, 0.5, 0.99]
    for level, count in enumerate(counts):
        reached += count
        while shares and reached >= shares[0] * total:
            found.append(level)
            del shares[0]
    low, median, high = found
    binned = tuple(sum(counts[start : start + BIN]) / total for start in range(0, len(counts), BIN))
    return Levels(low=low, median=median, high=high, shares=binned)


def suspicions(evidence: Evidence) -> tuple[str, ...]:
    """What speaks against the calibration, in sentences; nothing where it looks sound."""
    found = []
    samples, evaluation = evidence.samples, evidence.evaluation
    if samples.spread < LEAST_SPREAD:
        shade = "near black" if samples.high < LEAST_SPREAD else "near white" if samples.low > 223 else "of one shade"
        found.append(
            f"The calibration pictures are {shade}: 98 of 100 pixels lie between levels {samples.low} and "
            f"{samples.high} of 255; those of the evaluation between {evaluation.low} and {evaluation.high}"
        )
    saturating, layers = evidence.saturating, len(evidence.cuts)
    if len(saturating) >= _FEWEST_SATURATED and len(saturating) > MOST_SATURATED * layers:
        worst = saturating[0]
        found.append(
            f"{len(saturating)} of {layers} layers meet values that the calibration never saw, and lose more by "
            f"cutting them off than by rounding (worst: {worst.name}, {worst.power:.0f} times): the calibration "
            f"pictures {_unlike(samples, evaluation)}"
        )
    return tuple(found)


def _unlike(samples: Levels, evaluation: Levels) -> str:
    difference = samples.median - evaluation.median
    if abs(difference) < LEAST_SPREAD:
        return "are too few, or not like those of the evaluation"
    which = "brighter" if difference > 0 else "darker"
    return (
        f"are {which} than those of the evaluation (median level {samples.median} against {evaluation.median} of 255)"
    )
