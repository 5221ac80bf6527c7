"""Where two models part on the way from picture to answer, pure: a verdict for each stage, and the first that parted.

Owns the rules, of plain values; `compare.py` measures. A stage is judged on the same inputs before and after it, so
that no stage is blamed for the one before. See docs/compare.md for what the limits were measured on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeapp.vision.tensor import TensorSpec
from edgeapp.words import counted
from edgeapp.workshop.agreement import Agreement
from edgeapp.workshop.own_error import KERNELS, NO_NUMBER, QUANTIZED, OwnError, first_wrong, ratio_db

Reals = npt.NDArray[np.floating[Any]]
StageName = Literal["preprocessing", "conversion", "quantization", "compilation", "runtime"]
Answer = Literal["agrees", "diverges", "not compared"]

_SAME_INPUT_STEPS = 1.5  # rounding costs half a step on either side, and half a level of a shifted mean
_CONVERTED_STEPS = 1.0  # of 255 over the span of an output: a converter changes the last digits only
_FLOAT_STEPS = 255
_CLEARLY_DB = 3.0
_CHANCE = 0.01
_CURE = "; "  # stands between what is wrong and what to do
_COMPARE_INPUTS = f"{_CURE}compare input in both model.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is still called equal.

    An output of the same file on other kernels: within `max_steps`, as golden cases allow, or at `min_db` at least,
    since roundings add up to more in single values. `min_agreement`: the share of pictures on which both say the same;
    it is missed where so many unlike ones would come of that share in fewer than 1 of 100 trials.
    """

    max_steps: float = 24.0
    min_db: float = 20.0
    min_agreement: float = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """How far one output differs over all pictures: signal to difference in dB, the largest difference in steps."""

    role: str
    db: float
    worst_steps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage's verdict. `where`: here, or the device. `layer`: the first that leaves the tolerance.

    `same_share`: of the pictures, on how many both sides say the same; None where nothing was decoded.
    """

    name: StageName
    where: str
    answer: Answer
    text: str
    gaps: tuple[Gap, ...] = ()
    same_share: float | None = None
    layer: OwnError | None = None
    layers: tuple[OwnError, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstPicture:
    """A picture on which reference and edge differ most. `db`: of the output that differs most."""

    name: str
    says_the_same: bool
    db: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """All that was found. `shipped`: what ran as it ships, and where. `reference_sha256`: of its model file."""

    v: int = 1
    reference: str
    reference_sha256: str
    edge: str
    shipped: str
    runtime: str
    pictures: int
    stages: tuple[Stage, ...]
    agreement: Agreement
    worst: tuple[WorstPicture, ...]

    @property
    def culprit(self) -> Stage | None:
        """The first stage that diverges; None where none does."""
        return next((stage for stage in self.stages if stage.answer == "diverges"), None)

    @property
    def is_watched(self) -> bool:
        """Whether the layers of reference and edge model were compared, too."""
        return all(stage.layers or stage.name != "quantization" for stage in self.stages)

    @property
    def headline(self) -> str:
        culprit = self.culprit
        if culprit is None:
            unknown = [stage.name for stage in self.stages if stage.answer == "not compared"]
            if unknown:
                return f"Equal, as far as compared; not compared: {', '.join(unknown)}"
            return "Equal" if self.is_watched else "Equal in their outputs; no layer was watched"
        layer = f", in {culprit.layer}" if culprit.layer else ""
        where = "" if culprit.where == "here" else f" on {culprit.where}"
        return f"They part in {culprit.name}{where}{layer}"


def output_gap(role: str, expected: Reals, found: Reals, spec: TensorSpec) -> Gap:
    """How far an output's real values [pictures, …] differ, in steps of `spec`; a float one has 255 over its span."""
    difference = found - expected
    span = float(expected.max() - expected.min())
    step = spec.scale if spec.is_quantized else max(span / _FLOAT_STEPS, 1e-6)
    worst = float(np.nan_to_num(np.abs(difference) / step, nan=NO_NUMBER, posinf=NO_NUMBER).max())
    return Gap(
        role=role,
        db=ratio_db(float(np.square(expected).sum()), float(np.square(difference).sum())),
        worst_steps=worst,
    )


def judge_inputs(expected: Reals, found: Reals, step: float, *, with_own_db: float, with_given_db: float) -> Stage:
    """Preprocessing: what the reference is fed and what the edge model is, real values [pictures, height, width, c].

    `step` is one of the coarser of the two inputs. The two ratios say how near the edge model's answers come to the
    reference's with inputs of its own and with those of the reference: a model that was made for other inputs than its
    reference answers rightly with its own.
    """
    worst = float(np.abs(found - expected).max()) / step
    if worst <= _SAME_INPUT_STEPS:
        return _stage("preprocessing", "agrees", f"the same inputs, within {worst:.2g} steps")
    how = _how_inputs_differ(expected, found, step)
    if with_own_db > with_given_db + _CLEARLY_DB:
        text = f"{how.partition(_CURE)[0]}, and the edge model answers better with its own: it was made for them"
        return _stage("preprocessing", "agrees", text)
    return _stage("preprocessing", "diverges", how)


def _how_inputs_differ(expected: Reals, found: Reals, step: float) -> str:
    limit = _SAME_INPUT_STEPS * step
    if expected.shape[-1] == 3 and np.abs(expected[..., ::-1] - found).max() <= limit:
        return f"red and blue are swapped{_COMPARE_INPUTS}"
    if np.abs(np.clip(expected, found.min(), found.max()) - found).max() <= limit:
        return (
            f"values beyond {found.min():.3g} to {found.max():.3g} are cut off: the input was calibrated too narrowly"
            f"{_CURE}quantize it anew, with a black and a white picture among the others (edgeapp-workshop quantize)"
        )
    slope, offset = np.polyfit(expected.ravel(), found.ravel(), 1)
    if np.abs(expected * slope + offset - found).max() <= limit:
        return (
            f"its values are {slope:.3g} times the reference's, plus {offset:.3g}: another mean or std{_COMPARE_INPUTS}"
        )
    worst = np.abs(found - expected).max() / step
    return f"the pictures are prepared differently, by up to {worst:.0f} steps{_COMPARE_INPUTS}"


def judge_conversion(gaps: Sequence[Gap]) -> Stage:
    """The reference file against the outputs of the framework that it was converted from."""
    wrong = [gap for gap in gaps if gap.worst_steps > _CONVERTED_STEPS]
    text = "; ".join(f"{gap.role} differ by {gap.worst_steps:.2g} of 255 steps" for gap in wrong or gaps)
    return _stage("conversion", "diverges" if wrong else "agrees", text, gaps=tuple(gaps))


def is_missed(same: Sequence[bool], share: float) -> bool:
    """Whether so few alike are too few to come of a true `share` by chance: the tail of the binomial distribution."""
    count, unlike = len(same), same.count(False)
    tail = sum(
        math.comb(count, number) * (1 - share) ** number * share ** (count - number)
        for number in range(unlike, count + 1)
    )
    return tail < _CHANCE


def judge_quantization(
    layers: tuple[OwnError, ...] | None, gaps: Sequence[Gap], same: Sequence[bool], limits: Limits, *, left_out: int = 0
) -> Stage:
    """Reference against edge model, both on builtin kernels, fed with the same. `left_out`: layers without a twin.

    `layers` is None where they could not be watched, since the reference is elsewhere.
    """
    same_share = sum(same) / len(same)
    if layers is None:
        return Stage(
            name="quantization",
            where="here",
            answer="diverges" if is_missed(same, limits.min_agreement) else "agrees",
            text=f"the same on {same_share:.0%} of the pictures; layers are not watched: the reference is elsewhere",
            gaps=tuple(gaps),
            same_share=same_share,
        )
    wrong = first_wrong(layers, QUANTIZED)
    note = f"; {counted(left_out, 'layer')} without a counterpart" if left_out else ""
    if wrong is not None:
        answer, text = "diverges", f"{wrong[1]}{_others(layers, wrong[0])}{note}"
    elif is_missed(same, limits.min_agreement):
        answer = "diverges"
        text = (
            f"the same on {same_share:.0%} of the pictures, while no layer by itself leaves the tolerance: noise "
            f"adds up, most in {_noisiest(layers)}{note}"
        )
    else:
        answer, text = "agrees", f"the same on {same_share:.0%} of the pictures; noisiest: {_noisiest(layers)}{note}"
    return Stage(
        name="quantization",
        where="here",
        answer=answer,  # type: ignore[arg-type]
        text=text,
        gaps=tuple(gaps),
        same_share=same_share,
        layer=wrong[0] if wrong else None,
        layers=layers,
    )


def judge_kernels(
    name: StageName,
    where: str,
    layers: tuple[OwnError, ...],
    gaps: Sequence[Gap],
    same: Sequence[bool],
    limits: Limits,
    note: str = "",
) -> Stage:
    """The same file and inputs on other kernels: a delegate's, or another board's."""
    wrong, same_share = first_wrong(layers, KERNELS), sum(same) / len(same)
    worst = max((gap.worst_steps for gap in gaps), default=0.0)
    is_apart = any(gap.worst_steps > limits.max_steps and gap.db < limits.min_db for gap in gaps)
    answer: Answer = "diverges"
    if wrong is not None:
        text = f"{wrong[1]}{_others(layers, wrong[0], KERNELS.objection)}"
    elif is_apart or is_missed(same, limits.min_agreement):
        text = (
            f"outputs differ by up to {worst:.3g} steps and say the same on {same_share:.0%} of the pictures, while no "
            f"layer does wrong by itself: it appears where layers are compiled together"
        )
    else:
        answer, text = "agrees", f"outputs within {worst:.2g} steps, the same on {same_share:.0%} of the pictures"
    return Stage(
        name=name,
        where=where,
        answer=answer,
        text=f"{text}; {note}" if note else text,
        gaps=tuple(gaps),
        same_share=same_share,
        layer=wrong[0] if wrong else None,
        layers=layers,
    )


def _others(layers: Sequence[OwnError], first: OwnError, objection: Any = QUANTIZED.objection) -> str:
    count = sum(1 for layer in layers if layer.index > first.index and objection(layer))
    return f"; so {'does 1 layer' if count == 1 else f'do {count} layers'} after it" if count else ""


def _noisiest(layers: Sequence[OwnError]) -> str:
    worst = max(layers, key=lambda layer: layer.rms_steps, default=None)
    return f"{worst}, {worst.rms_steps:.2g} steps" if worst else "no layer that could be compared"


def _stage(name: StageName, answer: Answer, text: str, *, gaps: tuple[Gap, ...] = ()) -> Stage:
    return Stage(name=name, where="here", answer=answer, text=text, gaps=gaps)
