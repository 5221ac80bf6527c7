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
    layers = trace.read_layers(edge)
    twins = trace.match_layers(trace.read_layers(reference), layers)
    tallies: dict[int, Tally] = {}
    with (
        Kernels(trace.opened(edge)) as watched,
        Kernels(trace.opened(reference)) as whole,
        Kernels(trace.taken_apart(reference)) as apart,
    ):
        source = next(iter(watched.inputs.values()))
        specs = {trace.tensor_name(source.index): source, **watched.outputs}
        for own, given in zip(reference_inputs, edge_inputs, strict=True):
            seen = {trace.tensor_name(source.index): given, **watched.run({source.name: given})}
            reals = {name: dequantize(values, specs[name]) for name, values in seen.items()}
            originals = whole.run({next(iter(whole.inputs)): own})
            fed = {
                trace.slot_name(twins[layer.index].index, position): _numbers(
                    reals[trace.tensor_name(tensor)],
                    apart.inputs[trace.slot_name(twins[layer.index].index, position)],
                )
                for layer in layers
                if layer.index in twins
                for position, tensor in layer.slots
            }
            answers = apart.run(fed)
            for layer in layers:
                name = trace.tensor_name(layer.outputs[0])
                twin = twins.get(layer.index)
                if specs[name].dtype not in _COMPARED:
                    continue
                tally = tallies.setdefault(layer.index, Tally(specs[name]))
                if twin is not None:
                    twin_name = trace.tensor_name(twin.outputs[0])
                    tally.add(dequantize(answers[twin_name], apart.outputs[twin_name]), reals[name])
                    tally.add_output(dequantize(originals[twin_name], whole.outputs[twin_name]), reals[name])
                elif layer.operator in trace.CONVERSIONS:
                    tally.add(reals[trace.tensor_name(layer.slots[0][1])], reals[name])
    told = [layer for layer in layers if layer.index in twins or layer.operator in trace.CONVERSIONS]
    errors = tuple(
        tallies[layer.index].error(layer.index, layer.operator, layer.name) for layer in told if layer.index in tallies
    )
    return errors, len(layers) - len(told)


def kernel_errors(model: bytes, inputs: Sequence[Array], place: Place, delegate: Delegate) -> tuple[OwnError, ...]:
    """Of each layer, what it gives at a place with a delegate, against builtin kernels here, both fed with the same.

    Raises:
        CompareError: the place gives no outputs.
        ConvertError, ModelError: the file cannot be rewritten or run here.
        RemoteError: the device cannot be reached.
    """
    layers = trace.read_layers(model)
    given: dict[str, list[Array]] = {}
    expected: dict[str, list[Array]] = {}
    with Kernels(trace.opened(model)) as watched:
        specs = watched.outputs
        source = next(iter(watched.inputs.values()))
        for values in inputs:
            answers = watched.run({source.name: values})
            seen = {trace.tensor_name(source.index): values, **answers}
            for layer in layers:
                for position, tensor in layer.slots:
                    slot = trace.slot_name(layer.index, position)
                    given.setdefault(slot, []).append(seen[trace.tensor_name(tensor)])
            for name, answer in answers.items():
                expected.setdefault(name, []).append(answer)
    apart = {slot: np.stack(arrays) for slot, arrays in given.items()}
    found, _ = place.run(trace.taken_apart(model), apart, delegate)
    errors = []
    for layer in layers:
        name = trace.tensor_name(layer.outputs[0])
        if specs[name].dtype in _COMPARED:
            tally = Tally(specs[name])
            for right, answer in zip(expected[name], found[name], strict=True):
                tally.add(dequantize(right, specs[name]), dequantize(answer, specs[name]))
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
