"""What quantization does to each layer: the float and the quantized model side by side, tensor by tensor.

Owns the comparison and the ranking. Both run on the runtime that ships, with XNNPACK, whose partitions are cut so that
every tensor can be read (`experimental_preserve_all_tensors`; the results are those of an ordinary run).

    SQNR = 10 · log10(Σ float² / Σ (float − dequantized)²), over all values of all inputs, in dB

The error of a layer has in it what the layers before did. Its own part is the relative error power that it adds:

    own = Σ error² / Σ float² of its output, less the largest such ratio among its inputs; at least 0

which says where to keep float32: where the error is made, not where it is largest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError
from edgeapp.workshop.quiet import libraries_silenced

_NO_ERROR_DB = 120.0  # in place of infinity
_DELEGATE = "DELEGATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """One operator that computes float32 in the float model. `saturated`: share of values beyond the range."""

    name: str
    operator: str
    sqnr_db: float
    own: float
    saturated: float


@dataclass(slots=True)
class _Sums:
    signal: float = 0.0
    error: float = 0.0
    beyond: int = 0
    values: int = 0

    def ratio(self) -> float:
        return self.error / self.signal if self.signal > 0 else float(self.error > 0)


def layer_errors(
    float_model: Path, quantized: Path, inputs: Iterable[npt.NDArray[np.float32]]
) -> tuple[LayerError, ...]:
    """Each layer's error, in the order of execution. `inputs` are real values of the float model's input shape.

    A layer is left out where the quantized model has no tensor of its name.

    Raises:
        ConvertError: there are no inputs, or the models have no tensors in common.
    """
    reference, edge = _Traced(float_model), _Traced(quantized)
    common = [name for name in reference.computed if name in edge.tensors]
    sums = {name: _Sums() for name in [reference.input, *common]}
    is_empty = True
    for values in inputs:
        is_empty = False
        reference.run(values)
        edge.run(values)
        for name, tally in sums.items():
            edge_name = edge.input if name == reference.input else name
            _add(tally, reference.values(name), edge.values(edge_name), edge.limits(edge_name))
    if is_empty or not common:
        raise ConvertError(f"{quantized}: expected layers of {float_model.name} and pictures to compare, found none")
    return tuple(_layer(name, reference, sums) for name in common)


def worst(layers: Iterable[LayerError], count: int) -> tuple[LayerError, ...]:
    """The layers that add most error, the worst first."""
    return tuple(sorted((layer for layer in layers if layer.own > 0), key=lambda layer: -layer.own)[:count])


def _layer(name: str, reference: _Traced, sums: dict[str, _Sums]) -> LayerError:
    tally = sums[name]
    operator, sources = reference.computed[name]
    before = max((sums[source].ratio() for source in sources if source in sums), default=0.0)
    return LayerError(
        name=name,
        operator=operator,
        sqnr_db=min(-10 * math.log10(tally.ratio()), _NO_ERROR_DB) if tally.ratio() > 0 else _NO_ERROR_DB,
        own=max(tally.ratio() - before, 0.0),
        saturated=tally.beyond / tally.values,
    )


def _add(tally: _Sums, real: npt.NDArray[Any], found: npt.NDArray[Any], limits: tuple[float, float]) -> None:
    expected = real.astype(np.float64)
    tally.signal += float(np.square(expected).sum())
    tally.error += float(np.square(expected - found).sum())
    tally.beyond += int(np.count_nonzero((expected < limits[0]) | (expected > limits[1])))
    tally.values += expected.size


class _Traced:
    """An interpreter whose every tensor can be read. `computed`: each output's operator and inputs, in order."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with libraries_silenced():
            self._interpreter: Any = Interpreter(str(path), experimental_preserve_all_tensors=True)
            self._interpreter.allocate_tensors()
        self.tensors = {detail["name"]: detail for detail in self._interpreter.get_tensor_details()}
        self.input = str(self._interpreter.get_input_details()[0]["name"])
        names = {detail["index"]: name for name, detail in self.tensors.items()}
        self.computed = {
            names[int(operator["outputs"][0])]: (
                str(operator["op_name"]),
                [names[int(one)] for one in operator["inputs"] if int(one) in names],
            )
            for operator in self._interpreter._get_ops_details()
            if operator["op_name"] != _DELEGATE and self._is_real(names, operator)
        }

    def _is_real(self, names: dict[int, str], operator: Any) -> bool:
        name = names.get(int(operator["outputs"][0]))
        return name is not None and self.tensors[name]["dtype"] in (np.float32, np.int8)

    def run(self, values: npt.NDArray[np.float32]) -> None:
        detail = self.tensors[self.input]
        scale, zero_point = detail["quantization"]
        given: npt.NDArray[Any] = values
        if scale:
            limits = np.iinfo(detail["dtype"])
            given = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])
        self._interpreter.set_tensor(detail["index"], given)
        self._interpreter.invoke()

    def values(self, name: str) -> npt.NDArray[Any]:
        """Real values of a tensor."""
        detail = self.tensors[name]
        numbers: npt.NDArray[Any] = self._interpreter.get_tensor(detail["index"])
        scale, zero_point = detail["quantization"]
        return (numbers.astype(np.float64) - zero_point) * scale if scale else numbers

    def limits(self, name: str) -> tuple[float, float]:
        """What the tensor can hold, and a step more; endless for float32."""
        detail = self.tensors[name]
        scale, zero_point = detail["quantization"]
        if not scale:
            return -math.inf, math.inf
        whole = np.iinfo(detail["dtype"])
        return (whole.min - zero_point - 1) * scale, (whole.max - zero_point + 1) * scale
