"""How wrong a layer is by itself, in quantization steps, and whether that is more than rounding costs; pure.

A layer's own error is the difference between what it gave and what the reference's layer gives for the very same
inputs, so that the noise of the layers before it is not blamed on it. It is told in steps of the layer's output: to
round costs 0.29 of them (1/√12), 8-bit weights cost about as much again, whatever the range. A float output has 255
steps over the span of what was expected of it.

A wrong zero point shifts the range that a tensor can say: at one end values are cut off, at the other end as much of
the range stays unused. That is seen even where the cut values are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.vision.tensor import TensorSpec

Reals = npt.NDArray[np.floating[Any]]

_FLOAT_STEPS = 255
_LEAST_POWER = 1e-30
NO_ERROR_DB = 200.0  # stands for an endless ratio
NO_NUMBER = 1e9  # stands for a difference that is no number


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnError:
    """What a layer does wrong over some pictures; lengths are in steps of its output.

    `mean_steps` keeps its sign. `cut_share` is the share of values that lie more than a step beyond what the tensor can
    say. `shift_steps`: by how much its range lies too low (positive) or too high (negative). `output_db`: the ratio of
    the reference's own signal to the difference to it, with all errors of the layers before; None where not known.
    """

    index: int
    operator: str
    name: str
    rms_steps: float
    worst_steps: float
    mean_steps: float
    cut_share: float = 0.0
    shift_steps: float = 0.0
    output_db: float | None = None

    @property
    def first_name(self) -> str:
        """The name of its result; of operators that were fused, the first of their names, which is not all."""
        first, more, _ = self.name.partition(";")
        return f"{first} …" if more else first

    def __str__(self) -> str:
        return f"layer {self.index}, {self.operator} {self.first_name!r}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """What is no fault yet, in steps."""

    rms_steps: float
    worst_steps: float = math.inf
    shift_steps: float = math.inf

    def objection(self, error: OwnError) -> str:
        """What is wrong with a layer; empty where nothing is."""
        if abs(error.shift_steps) > self.shift_steps:
            end, other = ("upper", "lower") if error.shift_steps > 0 else ("lower", "upper")
            return (
                f"its zero point is wrong by about {abs(error.shift_steps):.0f} steps: {error.cut_share:.2%} of its "
                f"values are cut off at the {end} end of its range, while as much stays unused at the {other} end"
            )
        if error.worst_steps >= NO_NUMBER:
            return "some of its values are no numbers"
        if error.rms_steps > self.rms_steps:
            if error.cut_share > _MANY_CUT:
                return f"{error.cut_share:.1%} of its values lie beyond its range: a wrong scale or calibration"
            if abs(error.mean_steps) > _OFFSET_SHARE * error.rms_steps:
                return f"all its values are off by {error.mean_steps:+.1f} steps: a zero point or a bias is wrong"
            return f"its values are off by {error.rms_steps:.1f} steps (root mean square)"
        if error.worst_steps > self.worst_steps:
            return f"one of its values is off by {error.worst_steps:.0f} steps"
        return ""


_MANY_CUT = 0.01
_OFFSET_SHARE = 0.95

# Measured (docs/compare.md): honest layers lie below 4.1 and 24 steps, 8-bit kernels of one file within 1 step.
QUANTIZED = Tolerance(rms_steps=6.0, shift_steps=32.0)
KERNELS = Tolerance(rms_steps=1.5, worst_steps=8.0)


def first_wrong(errors: tuple[OwnError, ...], tolerance: Tolerance) -> tuple[OwnError, str] | None:
    """The first layer in order of execution that leaves the tolerance, and why; None where none does."""
    for error in errors:
        if objection := tolerance.objection(error):
            return error, objection
    return None


class Tally:
    """Gathers a layer's errors, picture after picture."""

    def __init__(self, spec: TensorSpec) -> None:
        """`spec` is the layer's output, whose steps count."""
        self._spec = spec
        self._step = spec.scale if spec.is_quantized else 0.0
        self._count = self._cut = 0
        self._squares = self._sum = self._worst = 0.0
        self._low, self._high = math.inf, -math.inf
        self._signal = self._noise = 0.0

    def add(self, expected: Reals, found: Reals) -> None:
        """The real values of one picture: what the layer should have given for its inputs, and what it gave."""
        low, high = float(expected.min()), float(expected.max())
        self._step = self._step or max((high - low) / _FLOAT_STEPS, 1e-6 * max(1.0, abs(low), abs(high)))
        steps = np.nan_to_num((found - expected) / self._step, nan=NO_NUMBER, posinf=NO_NUMBER, neginf=-NO_NUMBER)
        self._count += steps.size
        self._squares += float(np.square(steps).sum())
        self._sum += float(steps.sum())
        self._worst = max(self._worst, float(np.abs(steps).max()))
        if self._spec.is_quantized:
            bottom, top = self._limits()
            self._cut += int(np.count_nonzero((expected < bottom - self._step) | (expected > top + self._step)))
            self._low, self._high = min(self._low, low), max(self._high, high)

    def add_output(self, reference: Reals, found: Reals) -> None:
        """The real values of one picture: the reference's own, and what this layer gave."""
        self._signal += float(np.square(reference).sum())
        self._noise += float(np.square(found - reference).sum())

    def error(self, index: int, operator: str, name: str) -> OwnError:
        """What came of it.

        Raises:
            ValueError: nothing was added.
        """
        if not self._count:
            raise ValueError(f"layer {index}: expected values, found none")
        return OwnError(
            index=index,
            operator=operator,
            name=name,
            rms_steps=math.sqrt(self._squares / self._count),
            worst_steps=self._worst,
            mean_steps=self._sum / self._count,
            cut_share=self._cut / self._count,
            shift_steps=self._shift(),
            output_db=ratio_db(self._signal, self._noise) if self._signal or self._noise else None,
        )

    def _limits(self) -> tuple[float, float]:
        """The lowest and the highest value that the tensor can say."""
        numbers = np.iinfo(self._spec.dtype)
        bottom, top = (float(limit - self._spec.zero_point) * self._spec.scale for limit in (numbers.min, numbers.max))
        return bottom, top

    def _shift(self) -> float:
        if not self._spec.is_quantized:
            return 0.0
        bottom, top = self._limits()
        too_low = min(self._high - top, self._low - bottom)
        too_high = min(bottom - self._low, top - self._high)
        return max(too_low, 0.0) / self._step - max(too_high, 0.0) / self._step


def ratio_db(signal: float, noise: float) -> float:
    """The ratio of two powers in decibels; of a signal without noise NO_ERROR_DB."""
    if not math.isfinite(noise):
        return -NO_ERROR_DB
    return 10 * math.log10(max(signal, _LEAST_POWER) / max(noise, _LEAST_POWER)) if noise else NO_ERROR_DB
