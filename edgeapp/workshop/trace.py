"""The layers of a .tflite file: which there are, which of two files belong together, and forms that can be watched.

Owns two rewritings of a model file, both of which any runtime, delegate and board takes as an ordinary model:

- `opened`: every layer's result is an output, so that one run shows what each layer was given and gave.
- `taken_apart`: every layer reads inputs of its own, so that each can be fed what the caller likes. What it then gives
  wrongly is its own fault alone, and no error of a layer before it.

In both the operators keep their order, and tensors are named by `tensor_name` and `slot_name`. Running them, and what
counts as wrong, is left to others.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from edgeapp.errors import CompareError
from edgeapp.workshop.tflite_file import operator_codes, pack, text, unpack

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")  # they give what they are given, in other numbers
_LEAST_SHARED_NAMES = 0.5


@dataclass(frozen=True, slots=True)
class Layer:
    """One operator. `inputs`: by position, the index of the computed tensor it reads, -1 for a constant or nothing.

    `name` and `shape` are those of its first output.
    """

    index: int
    operator: str
    name: str
    shape: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def slots(self) -> tuple[tuple[int, int], ...]:
        """(position, tensor) of each computed input."""
        return tuple((position, tensor) for position, tensor in enumerate(self.inputs) if tensor >= 0)


def read_layers(content: bytes) -> tuple[Layer, ...]:
    """The layers that compute something of the model's input, in order of execution.

    Raises:
        ConvertError: the bytes are no .tflite file.
        CompareError: it has several graphs.
    """
    model, _ = _only_graph(unpack(content))
    return _layers(model)


def opened(content: bytes) -> bytes:
    """The model with the result of every layer as an output, named by `tensor_name`; its input keeps its name.

    Raises:
        ConvertError: the bytes are no .tflite file.
        CompareError: it has several graphs.
    """
    model, graph = _only_graph(unpack(content))
    _put_out(model, graph)
    return pack(model)


def taken_apart(content: bytes) -> bytes:
    """The model with each layer for itself: inputs by `slot_name`, outputs by `tensor_name`.

    Raises:
        ConvertError: the bytes are no .tflite file.
        CompareError: it has several graphs.
    """
    model, graph = _only_graph(unpack(content))
    layers = _layers(model)
    inputs = []
    for layer in layers:
        sources = [int(tensor) for tensor in graph.operators[layer.index].inputs]
        for position, tensor in layer.slots:
            slot = copy.copy(graph.tensors[tensor])
            slot.name = slot_name(layer.index, position)
            graph.tensors.append(slot)
            sources[position] = len(graph.tensors) - 1
            inputs.append(sources[position])
        graph.operators[layer.index].inputs = sources
    _put_out(model, graph, layers)
    graph.inputs = inputs
    return pack(model)


def tensor_name(tensor: int) -> str:
    """What a layer's result is called in `opened` and `taken_apart`."""
    return f"t{tensor}"


def slot_name(layer: int, position: int) -> str:
    """What a layer's input is called in `taken_apart`."""
    return f"i{layer}.{position}"


def match_layers(reference: Sequence[Layer], edge: Sequence[Layer]) -> dict[int, Layer]:
    """For the index of a layer of `edge` the layer of `reference` that computes the same.

    By the name of the result where converters kept it; else by the order of operators and shapes.
    """
    names = Counter(layer.name for layer in reference)
    by_name = {layer.name: layer for layer in reference if names[layer.name] == 1}
    found = {
        layer.index: by_name[layer.name]
        for layer in edge
        if layer.name in by_name and _are_alike(layer, by_name[layer.name])
    }
    real = [layer for layer in edge if layer.operator not in CONVERSIONS]
    if len(found) >= _LEAST_SHARED_NAMES * len(real):
        return found
    others = [layer for layer in reference if layer.operator not in CONVERSIONS]
    before, after = ([(one.operator, one.shape) for one in layers] for layers in (others, real))
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    pairs = [(others[a + step], real[b + step]) for a, b, size in blocks for step in range(size)]
    return {layer.index: twin for twin, layer in pairs if _are_alike(layer, twin)}


def _are_alike(one: Layer, other: Layer) -> bool:
    positions = [[position for position, _ in layer.slots] for layer in (one, other)]
    return one.operator == other.operator and one.shape == other.shape and positions[0] == positions[1]


def _only_graph(model: Any) -> tuple[Any, Any]:
    if len(model.subgraphs) != 1:
        raise CompareError(f"expected a model of one graph, found {len(model.subgraphs)}: its layers cannot be told")
    return model, model.subgraphs[0]


def _layers(model: Any) -> tuple[Layer, ...]:
    graph, codes = model.subgraphs[0], operator_codes(model)
    computed = {int(tensor) for tensor in graph.inputs}
    layers = []
    for index, operator in enumerate(graph.operators):
        inputs = tuple(int(tensor) if int(tensor) in computed else -1 for tensor in operator.inputs)
        outputs = tuple(int(tensor) for tensor in operator.outputs)
        if max(inputs, default=-1) < 0 or not outputs:  # of constants alone
            continue
        computed.update(outputs)
        first = graph.tensors[outputs[0]]
        shape = tuple(int(size) for size in first.shape) if first.shape is not None else ()
        layers.append(Layer(index, codes[operator.opcodeIndex], text(first.name), shape, inputs, outputs))
    return tuple(layers)


def _put_out(model: Any, graph: Any, layers: Sequence[Layer] | None = None) -> None:
    """Make every layer's results the outputs, with names by which they are found."""
    results = [tensor for layer in layers or _layers(model) for tensor in layer.outputs]
    for tensor in results:
        graph.tensors[tensor].name = tensor_name(tensor)
    graph.outputs, model.signatureDefs = results, []
