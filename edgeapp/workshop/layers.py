"""What quantization does to each layer, and which layers the error of the outputs comes from.

Owns the comparison. Both models run on the runtime that ships, with XNNPACK, whose partitions are cut so that every
tensor can be read (`experimental_preserve_all_tensors`; the results are those of an ordinary run).

    SQNR = 10 · log10(Σ float² / Σ (float − dequantized)²), over all values of all inputs, in dB

The SQNR of a layer has in it what the layers before did, and says nothing of what comes of it: in the demo's detector
it is lowest in the middle, and keeping those layers in float32 helps nothing. So each layer is also quantized alone,
with all others in float32, and the error that this makes at the outputs is compared with that of the whole int8 model:

    effect = mean over the outputs of (relative error power, this layer alone) / (the same, all layers)

The errors of different layers are nearly independent, so that the effects add up to about 1 (or more: some cancel). In
that detector one early depthwise convolution has an effect of 0.6; keeping it in float32 halves the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError
from edgeapp.workshop.calibration import Cut
from edgeapp.workshop.progress import Progress, silent
from edgeapp.workshop.quantize import Calibrated, Sample
from edgeapp.workshop.quiet import libraries_silenced

Reals = npt.NDArray[np.float64]
_NO_ERROR_DB = 120.0  # in place of infinity
_EFFECT_INPUTS = 5
_DELEGATE = "DELEGATE"
_REAL = (np.float32, np.int8)
_COMPUTING = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL", "ADD", "SUB", "MUL")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """One operator that computes float32 in the float model, named by its output.

    `effect`: None where it was not tried alone.
    """

    name: str
    operator: str
    sqnr_db: float
    cut: Cut
    effect: float | None = None


@dataclass(slots=True)
class _Sums:
    signal: float = 0.0
    error: float = 0.0
    cut: float = 0.0
    beyond: int = 0
    values: int = 0

    def add(self, real: Reals, found: Reals, limits: tuple[float, float] = (-math.inf, math.inf)) -> None:
        excess = real - np.clip(real, *limits)
        self.signal += float(np.square(real).sum())
        self.error += float(np.square(real - found).sum())
        self.cut += float(np.square(excess).sum())
        self.beyond += int(np.count_nonzero(excess))
        self.values += real.size

    def ratio(self) -> float:
        return self.error / self.signal if self.signal > 0 else float(self.error > 0)

    def sqnr_db(self) -> float:
        return min(-10 * math.log10(self.ratio()), _NO_ERROR_DB) if self.error > 0 else _NO_ERROR_DB

    def cut_power(self, step: float) -> float:
        return self.cut / (self.values * step**2 / 12) if step else 0.0


def layer_errors(
    calibrated: Calibrated, quantized: Path, inputs: Sequence[Sample], progress: Progress = silent
) -> tuple[LayerError, ...]:
    """Each layer's error in the int8 model that was made of `calibrated`, in the order of execution.

    `inputs` are real values of the float model's input shape; the effect is measured on the first few.
    A layer is left out where the quantized model has no tensor of its name.

    Raises:
        ConvertError: there are no inputs, or the models have no tensors in common.
    """
    reference, edge = _Traced(calibrated.content), _Traced(quantized.read_bytes())
    common = [name for name in reference.operators if name in edge.tensors]
    if not len(inputs) or not common:
        raise ConvertError(f"{quantized}: expected layers of the float model and pictures to compare, found none")
    sums = {name: _Sums() for name in common}
    for values in inputs:
        reference.run(values)
        edge.run(values)
        for name, tally in sums.items():
            tally.add(reference.values(name), edge.values(name), edge.limits(name))
    effects = _effects(calibrated, quantized, reference, inputs[:_EFFECT_INPUTS], progress)
    return tuple(
        LayerError(
            name=name,
            operator=reference.operators[name],
            sqnr_db=tally.sqnr_db(),
            cut=Cut(name=name, share=tally.beyond / tally.values, power=tally.cut_power(edge.step(name))),
            effect=effects.get(name),
        )
        for name, tally in sums.items()
    )


def worst(layers: Iterable[LayerError], count: int) -> tuple[LayerError, ...]:
    """The layers with the largest effect on the outputs, the worst first."""
    tried = [layer for layer in layers if layer.effect]
    return tuple(sorted(tried, key=lambda layer: -(layer.effect or 0.0))[:count])


def _effects(
    calibrated: Calibrated, quantized: Path, reference: _Traced, inputs: Sequence[Sample], progress: Progress
) -> dict[str, float]:
    """The effect of each layer that computes; an output is none: kept in float32, it would be a float32 output."""
    expected = _outputs(calibrated.content, inputs)
    whole = _error_ratios(expected, _outputs(quantized.read_bytes(), inputs))
    names = [
        name
        for name, operator in reference.operators.items()
        if operator in _COMPUTING and name not in calibrated.outputs
    ]
    effects = {}
    for done, name in enumerate(names):
        progress("layers", done / len(names))
        alone = _error_ratios(expected, _outputs(calibrated.quantized_alone(name), inputs))
        shares = [one / other for one, other in zip(alone, whole, strict=True) if other > 0]
        effects[name] = sum(shares) / len(shares) if shares else 0.0
    return effects


def _outputs(content: bytes, inputs: Sequence[Sample]) -> list[list[Reals]]:
    """Real values of each output, for each input."""
    model, found = _Traced(content, keeps_all=False), []
    for values in inputs:
        model.run(values)
        found.append([model.values(name) for name in model.outputs])
    return found


def _error_ratios(expected: list[list[Reals]], found: list[list[Reals]]) -> list[float]:
    """Σ error² / Σ float² of each output."""
    sums = [_Sums() for _ in expected[0]]
    for row, other in zip(expected, found, strict=True):
        for tally, one, that in zip(sums, row, other, strict=True):
            tally.add(one, that)
    return [tally.ratio() for tally in sums]


class _Traced:
    """An interpreter whose every tensor can be read, or, faster, its outputs alone.

    `operators`: the operator that computes each tensor, in the order of execution.
    """

    def __init__(self, content: bytes, *, keeps_all: bool = True) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with libraries_silenced():
            self._interpreter: Any = Interpreter(model_content=content, experimental_preserve_all_tensors=keeps_all)
            self._interpreter.allocate_tensors()
        self.tensors = {detail["name"]: detail for detail in self._interpreter.get_tensor_details()}
        (self._input,) = self._interpreter.get_input_details()
        self.outputs = [detail["name"] for detail in self._interpreter.get_output_details()]
        names = {detail["index"]: name for name, detail in self.tensors.items()}
        written = [
            (names[int(operator["outputs"][0])], str(operator["op_name"]))
            for operator in self._interpreter._get_ops_details()
            if operator["op_name"] != _DELEGATE and int(operator["outputs"][0]) in names
        ]
        self.operators = {name: operator for name, operator in written if self.tensors[name]["dtype"] in _REAL}

    def run(self, values: Sample) -> None:
        """Infer from real values."""
        scale, zero_point = self._input["quantization"]
        given: npt.NDArray[Any] = values
        if scale:
            limits = np.iinfo(self._input["dtype"])
            given = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(self._input["dtype"])
        self._interpreter.set_tensor(self._input["index"], given)
        self._interpreter.invoke()

    def values(self, name: str) -> Reals:
        """Real values of a tensor."""
        detail = self.tensors[name]
        numbers: Reals = self._interpreter.get_tensor(detail["index"]).astype(np.float64)
        scale, zero_point = detail["quantization"]
        return (numbers - zero_point) * scale if scale else numbers

    def step(self, name: str) -> float:
        """One quantization step; 0 for float32."""
        return float(self.tensors[name]["quantization"][0])

    def limits(self, name: str) -> tuple[float, float]:
        """What the tensor can hold; endless for float32."""
        detail = self.tensors[name]
        scale, zero_point = detail["quantization"]
        if not scale:
            return -math.inf, math.inf
        whole = np.iinfo(detail["dtype"])
        return (whole.min - zero_point) * scale, (whole.max - zero_point) * scale
