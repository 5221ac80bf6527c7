"""Watches the layers of a model at work: what each gives for the very inputs it had, beside what it should give.

Owns the running of the rewritten files of `trace.py`, picture by picture, so that not all pictures' tensors are in
memory at once. What the differences mean is `own_error.py`'s and `stages.py`'s.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.config import Delegate
from edgeapp.vision.tensor import TensorSpec, dequantize
from edgeapp.vision.tflite import Runtime
from edgeapp.workshop import trace
from edgeapp.workshop.own_error import OwnError, Tally
from edgeapp.workshop.places import Arrays, Place
from edgeapp.workshop.quiet import libraries_silenced

Array = npt.NDArray[Any]
_COMPARED = ("int8", "uint8", "float32")
_MOST_THREADS = 4


def threads() -> int:
    """For builtin kernels here; the numbers do not depend on it."""
    return min(os.cpu_count() or 1, _MOST_THREADS)


def recode(values: Array, spec: TensorSpec, wanted: TensorSpec) -> Array:
    """The same real values in the numbers of another tensor, rounded and clipped where that is quantized."""
    return _numbers(dequantize(values, spec), wanted)


def _numbers(reals: npt.NDArray[np.float64], spec: TensorSpec) -> Array:
    if not spec.is_quantized:
        return reals.astype(spec.dtype)
    limits = np.iinfo(spec.dtype)
    return np.clip(np.round(reals / spec.scale) + spec.zero_point, limits.min, limits.max).astype(spec.dtype)


def own_errors(
    reference: bytes, edge: bytes, reference_inputs: Sequence[Array], edge_inputs: Sequence[Array]
) -> tuple[tuple[OwnError, ...], int]:
    """The own error of each layer of `edge`, on builtin kernels, and how many layers have no twin in `reference`.

    The twin is fed the real values of what the layer itself was fed; a layer that only converts numbers is its own
    twin.

    Raises:
        ConvertError, CompareError, ModelError: a file is none, or cannot be rewritten or run.
    """
    with _Watched(edge) as watched, _Watched(reference) as whole, Kernels(trace.taken_apart(reference)) as apart:
        twins = trace.match_layers(whole.layers, watched.layers)
        told = [layer for layer in watched.layers if layer.index in twins or layer.operator in trace.CONVERSIONS]
        tallies = {layer: Tally(watched.specs[layer.outputs[0]]) for layer in told if watched.is_compared(layer)}
        for own, given in zip(reference_inputs, edge_inputs, strict=True):
            seen, originals = watched.reals(watched.see(given)), whole.reals(whole.see(own))
            fed = {}
            for index, twin in twins.items():
                for (position, _), (_, tensor) in zip(twin.slots, watched.by_index[index].slots, strict=True):
                    slot = trace.slot_name(twin.index, position)
                    fed[slot] = _numbers(seen[tensor], apart.inputs[slot])
            answers = apart.run(fed)
            for layer, tally in tallies.items():
                found = seen[layer.outputs[0]]
                if layer.index in twins:
                    tensor = twins[layer.index].outputs[0]
                    name = trace.tensor_name(tensor)
                    tally.add(dequantize(answers[name], apart.outputs[name]), found)
                    tally.add_output(originals[tensor], found)
                else:
                    tally.add(seen[layer.slots[0][1]], found)
    errors = tuple(tally.error(layer.index, layer.operator, layer.name) for layer, tally in tallies.items())
    return errors, len(watched.layers) - len(told)


def kernel_errors(model: bytes, inputs: Sequence[Array], place: Place, delegate: Delegate) -> tuple[OwnError, ...]:
    """Of each layer, what it gives at a place with a delegate, against builtin kernels here, both fed with the same.

    Raises:
        CompareError: the place gives no outputs.
        ConvertError, ModelError: the file cannot be rewritten or run here.
        RemoteError: the device cannot be reached.
    """
    with _Watched(model) as watched:
        seen = [watched.see(values) for values in inputs]
    given = {
        trace.slot_name(layer.index, position): np.stack([one[tensor] for one in seen])
        for layer in watched.layers
        for position, tensor in layer.slots
    }
    found, _ = place.run(trace.taken_apart(model), given, delegate)
    errors = []
    for layer in filter(watched.is_compared, watched.layers):
        tensor = layer.outputs[0]
        spec, tally = watched.specs[tensor], Tally(watched.specs[tensor])
        for one, answer in zip(seen, found[trace.tensor_name(tensor)], strict=True):
            tally.add(dequantize(one[tensor], spec), dequantize(answer, spec))
        errors.append(tally.error(layer.index, layer.operator, layer.name))
    return tuple(errors)


class Kernels:
    """A rewritten model file on builtin kernels, run tensor by tensor. Made with `with`."""

    def __init__(self, content: bytes) -> None:
        with tempfile.NamedTemporaryFile(suffix=".tflite") as file, libraries_silenced():
            file.write(content)
            file.flush()
            self._runtime = Runtime(Path(file.name), delegate="none", threads=threads())
        self.inputs, self.outputs = self._runtime.inputs, self._runtime.outputs

    def __enter__(self) -> Kernels:
        return self

    def __exit__(self, *_: object) -> None:
        self._runtime.close()

    def run(self, inputs: Arrays) -> Arrays:
        """What it gives; an input that is not given is zero."""
        for name, spec in self.inputs.items():
            values = inputs[name] if name in inputs else np.zeros(spec.shape, spec.dtype)
            self._runtime.set_input(spec, values)
        self._runtime.invoke()
        return {name: self._runtime.output(spec) for name, spec in self.outputs.items()}


class _Watched:
    """A model of which every layer's result is seen, by tensor, and its input with them. Made with `with`."""

    def __init__(self, content: bytes) -> None:
        self.layers = trace.read_layers(content)
        self.by_index = {layer.index: layer for layer in self.layers}
        self._kernels = Kernels(trace.opened(content))
        (self._source,) = self._kernels.inputs.values()
        self.specs = {
            tensor: self._kernels.outputs[trace.tensor_name(tensor)]
            for layer in self.layers
            for tensor in layer.outputs
        } | {self._source.index: self._source}

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._kernels.__exit__()

    def is_compared(self, layer: trace.Layer) -> bool:
        """Whether its result is one of numbers that mean real values."""
        return self.specs[layer.outputs[0]].dtype in _COMPARED

    def see(self, values: Array) -> dict[int, Array]:
        """What each layer gives for an input tensor."""
        answers = self._kernels.run({self._source.name: values})
        return {
            tensor: values if tensor == self._source.index else answers[trace.tensor_name(tensor)]
            for tensor in self.specs
        }

    def reals(self, seen: dict[int, Array]) -> dict[int, npt.NDArray[np.float64]]:
        """The real values of what was seen."""
        return {tensor: dequantize(values, self.specs[tensor]) for tensor, values in seen.items()}
