"""A TensorFlow 1 frozen graph becomes a float32 .tflite file, without TensorFlow.

Owns the meaning of the operators that a frozen detector is made of, and the folding of batch normalisation, bias and
ReLU6 into the convolution before them. Reading the graph is `graphdef.py`'s, writing the file `tflite_file.py`'s.

Guarantees: what cannot be converted exactly is an error that names the operator and the node, never a guess. The
same graph gives the same bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgeapp.errors import ConvertError
from edgeapp.system.files import write_durably
from edgeapp.workshop.graphdef import Node, read_graph
from edgeapp.workshop.tflite_file import ModelBuilder

Floats = npt.NDArray[np.floating[Any]]
Constant = npt.NDArray[Any]
INPUT_NAME = "input"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphCut:
    """Which part of a graph becomes the model: from the output of one node to the outputs of others.

    `input_shape` is [1, height, width, channels]. `outputs` maps a tensor name in the file to a node of the graph.
    """

    input_node: str
    input_shape: tuple[int, int, int, int]
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor in the file."""

    index: int
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution that is not yet in the file, so that what follows can be folded into it.

    `weights` is float64 in the file's layout: [out, h, w, in], or [1, h, w, out] when `is_depthwise`.
    """

    source: _Tensor
    weights: Floats
    bias: Floats
    strides: tuple[int, int]
    padding: str
    is_depthwise: bool
    multiplier: int
    has_relu6: bool
    shape: tuple[int, ...]

    def scaled(self, scale: Floats, shift: Floats) -> _Convolution:
        """The convolution followed by y·scale + shift for each output channel."""
        by_channel = scale if self.is_depthwise else scale[:, None, None, None]
        return dataclasses.replace(self, weights=self.weights * by_channel, bias=self.bias * scale + shift)


_Value = _Tensor | _Convolution | Constant


def convert_frozen_graph(graph: Path, out: Path, cut: GraphCut) -> None:
    """Write the part of a frozen graph as a float32 .tflite file with the tensors `input` and those of the cut.

    Raises:
        ConvertError: the file is no frozen graph, or the part holds what has no exact counterpart.
    """
    try:
        content = graph.read_bytes()
    except OSError as error:
        raise ConvertError(f"{graph}: expected a frozen graph, found: {error.strerror}") from error
    write_durably(out, convert_graph(read_graph(content), cut))


def convert_graph(nodes: Mapping[str, Node], cut: GraphCut) -> bytes:
    """The part of a graph as the bytes of a float32 .tflite file.

    Raises:
        ConvertError: the part holds what has no exact counterpart.
    """
    return _Converter(nodes, cut).run()


class _Converter:
    """Walks the needed nodes in order of computation; every node has a value, and a tensor once it is used as one."""

    def __init__(self, nodes: Mapping[str, Node], cut: GraphCut) -> None:
        self._nodes = nodes
        self._cut = cut
        self._builder = ModelBuilder()
        source = _Tensor(self._builder.activation(INPUT_NAME, cut.input_shape), tuple(cut.input_shape))
        self._values: dict[str, _Value] = {cut.input_node: source}
        self._tensors: dict[str, _Tensor] = {cut.input_node: source}

    def run(self) -> bytes:
        for name in self._in_order():
            node = self._nodes[name]
            rule = _RULES.get(node.op)
            if rule is None:
                known = ", ".join(sorted(_RULES))
                raise ConvertError(f"node {name}: expected an operator of {known}, found {node.op}")
            self._values[name] = rule(self, node)
        inputs = {INPUT_NAME: self._tensors[self._cut.input_node].index}
        outputs = {public: self._tensor(name).index for public, name in self._cut.outputs.items()}
        if len({*inputs.values(), *outputs.values()}) != 1 + len(self._cut.outputs):
            raise ConvertError(f"expected a tensor of its own for each output, found one shared by {self._cut.outputs}")
        return self._builder.finish(inputs, outputs, "converted from a TensorFlow 1 frozen graph")

    def _in_order(self) -> list[str]:
        """The nodes that the outputs need, each after its inputs. A loop, not a recursion: graphs are deep."""
        order: list[str] = []
        finished: set[str] = {self._cut.input_node}
        entered: set[str] = set()
        stack = [self._canonical(name) for name in reversed(list(self._cut.outputs.values()))]
        while stack:
            name = stack[-1]
            waiting = [] if name in finished else [one for one in self._sources(name) if one not in finished]
            if not waiting:
                stack.pop()
                if name not in finished:
                    finished.add(name)
                    order.append(name)
            elif name in entered:
                raise ConvertError(f"node {name}: expected no loop in the graph, found that it needs its own result")
            else:
                entered.add(name)
                stack += reversed(waiting)
        return order

    def _sources(self, name: str) -> list[str]:
        return [self._canonical(one) for one in self._nodes[name].inputs]

    def _canonical(self, name: str) -> str:
        """The node that computes what this name stands for: past identities, so that one value has one name."""
        while name != self._cut.input_node:
            base, _, port = name.partition(":")
            if port not in ("", "0"):
                raise ConvertError(f"node {base}: expected only its first output to be used, found output {port}")
            name = base
            node = self._nodes.get(name)
            if node is None:
                raise ConvertError(f"node {name}: expected in the graph, found no node of this name")
            if node.op != "Identity" or name == self._cut.input_node:
                break
            name = node.inputs[0]
        return name

    def _value(self, node: Node, position: int) -> _Value:
        if position >= len(node.inputs):
            raise ConvertError(f"{_where(node)}: expected at least {position + 1} inputs, found {len(node.inputs)}")
        return self._values[self._canonical(node.inputs[position])]

    def _constant(self, node: Node, position: int) -> Constant:
        value = self._value(node, position)
        if not isinstance(value, np.ndarray):
            raise ConvertError(f"{_where(node)}: expected input {position} to be constant, found a computed tensor")
        return value

    def _channels(self, node: Node, position: int, count: int) -> Floats:
        values = self._constant(node, position).astype(np.float64)
        if values.shape != (count,):
            raise ConvertError(f"{_where(node)}: expected input {position} of shape [{count}], found {values.shape}")
        return values

    def _open_convolution(self, node: Node) -> _Convolution:
        value = self._value(node, 0)
        if not isinstance(value, _Convolution) or value.has_relu6:
            raise ConvertError(f"{_where(node)}: expected a convolution before it to fold it into, found none")
        return value

    def _input_tensor(self, node: Node, position: int) -> _Tensor:
        self._value(node, position)  # tells of a missing input
        return self._tensor(node.inputs[position])

    def _tensor(self, name: str) -> _Tensor:
        """The node's value as a tensor in the file; a convolution is written when its result is first used."""
        name = self._canonical(name)
        if name not in self._tensors:
            value = self._values[name]
            if isinstance(value, np.ndarray):
                value = _Tensor(self._builder.constant(name, value), value.shape)
            elif isinstance(value, _Convolution):
                value = self._write_convolution(name, value)
            self._tensors[name] = value
        return self._tensors[name]

    def _write_convolution(self, name: str, value: _Convolution) -> _Tensor:
        weights = self._builder.constant(f"{name}/weights", value.weights.astype(np.float32))
        bias = self._builder.constant(f"{name}/bias", value.bias.astype(np.float32))
        if value.is_depthwise:
            options = schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = value.multiplier
        else:
            options = schema.Conv2DOptionsT()
        options.padding = getattr(schema.Padding, value.padding)
        options.strideH, options.strideW = value.strides
        functions = schema.ActivationFunctionType
        options.fusedActivationFunction = functions.RELU6 if value.has_relu6 else functions.NONE
        kind = "DepthwiseConv2DOptions" if value.is_depthwise else "Conv2DOptions"
        operator = "DEPTHWISE_CONV_2D" if value.is_depthwise else "CONV_2D"
        return self._write(name, operator, [value.source.index, weights, bias], value.shape, (kind, options))

    def _write(
        self, name: str, operator: str, inputs: list[int], shape: tuple[int, ...], options: tuple[str, Any] | None
    ) -> _Tensor:
        output = self._builder.activation(name, shape)
        self._builder.operator(operator, inputs, output, options)
        return _Tensor(output, shape)

    # The rules: one operator each. A rule returns the node's value.

    def convolution(self, node: Node) -> _Value:
        source, kernel = self._input_tensor(node, 0), self._constant(node, 1).astype(np.float64)
        is_depthwise = node.op == "DepthwiseConv2dNative"
        strides, padding = _layout(node)
        if len(source.shape) != 4 or kernel.ndim != 4 or source.shape[3] != kernel.shape[2]:
            raise ConvertError(
                f"{_where(node)}: expected 4 axes and as many channels, found {source.shape} and a "
                f"kernel {kernel.shape}"
            )
        height, width, inputs, last = kernel.shape
        outputs = inputs * last if is_depthwise else last
        spatial = (
            _output_size(source.shape[1], height, strides[0], padding),
            _output_size(source.shape[2], width, strides[1], padding),
        )
        if min(spatial) < 1:
            raise ConvertError(f"{_where(node)}: expected a picture of at least {height}x{width}, found {source.shape}")
        return _Convolution(
            source=source,
            weights=kernel.reshape(1, height, width, outputs) if is_depthwise else kernel.transpose(3, 0, 1, 2),
            bias=np.zeros(outputs),
            strides=strides,
            padding=padding,
            is_depthwise=is_depthwise,
            multiplier=last if is_depthwise else 1,
            has_relu6=False,
            shape=(source.shape[0], *spatial, outputs),
        )

    def bias(self, node: Node) -> _Value:
        before = self._open_convolution(node)
        channels = before.shape[3]
        return before.scaled(np.ones(channels), self._channels(node, 1, channels))

    def batch_norm(self, node: Node) -> _Value:
        """gamma · (x − mean) / √(variance + epsilon) + beta (Ioffe and Szegedy 2015), with the trained statistics."""
        if node.boolean("is_training", True):
            raise ConvertError(f"{_where(node)}: expected is_training to be false, found true: freeze for inference")
        before = self._open_convolution(node)
        gamma, beta, mean, variance = (self._channels(node, position, before.shape[3]) for position in range(1, 5))
        scale = gamma / np.sqrt(variance + node.number("epsilon", 1e-4))
        return before.scaled(scale, beta - mean * scale)

    def relu6(self, node: Node) -> _Value:
        before = self._value(node, 0)
        if isinstance(before, _Convolution):
            return dataclasses.replace(before, has_relu6=True)
        source = self._input_tensor(node, 0)
        return self._write(node.name, "RELU6", [source.index], source.shape, None)

    def add(self, node: Node) -> _Value:
        left, right = self._input_tensor(node, 0), self._input_tensor(node, 1)
        if left.shape != right.shape:
            raise ConvertError(f"{_where(node)}: expected inputs of one shape, found {left.shape} and {right.shape}")
        return self._write(
            node.name, "ADD", [left.index, right.index], left.shape, ("AddOptions", schema.AddOptionsT())
        )

    def divide(self, node: Node) -> _Value:
        """TensorFlow's detectors divide the logits by a temperature, which is 1."""
        divisor = self._constant(node, 1)
        if np.any(divisor != 1):
            raise ConvertError(f"{_where(node)}: expected a division by the constant 1, found {divisor}")
        return self._input_tensor(node, 0)

    def sigmoid(self, node: Node) -> _Value:
        source = self._input_tensor(node, 0)
        return self._write(node.name, "LOGISTIC", [source.index], source.shape, None)

    def reshape(self, node: Node) -> _Value:
        source = self._input_tensor(node, 0)
        wanted = [int(size) for size in self._constant(node, 1).reshape(-1)]
        return self._write_reshape(node, source, _resolved(node, source.shape, wanted))

    def squeeze(self, node: Node) -> _Value:
        source = self._input_tensor(node, 0)
        rank = len(source.shape)
        axes = {axis % rank for axis in node.integers("squeeze_dims", ())}
        axes = axes or {axis for axis in range(rank) if source.shape[axis] == 1}
        if any(source.shape[axis] != 1 for axis in axes):
            raise ConvertError(f"{_where(node)}: expected axes {sorted(axes)} of size 1, found {source.shape}")
        return self._write_reshape(node, source, tuple(s for axis, s in enumerate(source.shape) if axis not in axes))

    def _write_reshape(self, node: Node, source: _Tensor, shape: tuple[int, ...]) -> _Value:
        target = self._builder.constant(f"{node.name}/shape", np.array(shape, np.int32))
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self._write(node.name, "RESHAPE", [source.index, target], shape, ("ReshapeOptions", options))

    def concatenate(self, node: Node) -> _Value:
        sources = [self._input_tensor(node, position) for position in range(max(len(node.inputs) - 1, 1))]
        rank = len(sources[0].shape)
        axis = int(self._constant(node, len(node.inputs) - 1).reshape(-1)[0]) % rank
        rests = {source.shape[:axis] + source.shape[axis + 1 :] for source in sources}
        if len(rests) != 1:
            raise ConvertError(f"{_where(node)}: expected inputs that differ along axis {axis} only, found {rests}")
        first = sources[0].shape
        shape = (*first[:axis], sum(source.shape[axis] for source in sources), *first[axis + 1 :])
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        indices = [source.index for source in sources]
        return self._write(node.name, "CONCATENATION", indices, shape, ("ConcatenationOptions", options))

    # Arithmetic on shapes: the file's shapes are fixed, so all of it is known now.

    def constant(self, node: Node) -> _Value:
        return node.tensor()

    def shape(self, node: Node) -> _Value:
        return np.array(self._value(node, 0).shape, np.int32)

    def pack(self, node: Node) -> _Value:
        return np.stack([self._constant(node, position) for position in range(len(node.inputs))])

    def slice(self, node: Node) -> _Value:
        vector = self._constant(node, 0)
        begin, end, step = (int(self._constant(node, position).reshape(-1)[0]) for position in (1, 2, 3))
        masks = {key: node.integer(key, 0) for key in ("ellipsis_mask", "new_axis_mask")}
        if vector.ndim != 1 or self._constant(node, 1).size != 1 or any(masks.values()):
            raise ConvertError(f"{_where(node)}: expected a plain slice of a vector, found {vector.shape} with {masks}")
        if node.integer("shrink_axis_mask", 0):
            return np.asarray(vector[begin])
        first = None if node.integer("begin_mask", 0) else begin
        last = None if node.integer("end_mask", 0) else end
        return vector[first:last:step]


_RULES: dict[str, Callable[[_Converter, Node], _Value]] = {
    "Conv2D": _Converter.convolution,
    "DepthwiseConv2dNative": _Converter.convolution,
    "BiasAdd": _Converter.bias,
    "FusedBatchNorm": _Converter.batch_norm,
    "FusedBatchNormV2": _Converter.batch_norm,
    "FusedBatchNormV3": _Converter.batch_norm,
    "Relu6": _Converter.relu6,
    "Add": _Converter.add,
    "AddV2": _Converter.add,
    "RealDiv": _Converter.divide,
    "Sigmoid": _Converter.sigmoid,
    "Reshape": _Converter.reshape,
    "Squeeze": _Converter.squeeze,
    "ConcatV2": _Converter.concatenate,
    "Const": _Converter.constant,
    "Shape": _Converter.shape,
    "Pack": _Converter.pack,
    "StridedSlice": _Converter.slice,
}


def _where(node: Node) -> str:
    return f"node {node.name} ({node.op})"


def _layout(node: Node) -> tuple[tuple[int, int], str]:
    """The strides (down, across) and the padding.

    Raises:
        ConvertError: the convolution is of a kind that the rules here do not cover.
    """
    layout, padding = node.text("data_format", "NHWC"), node.text("padding")
    strides, dilations = node.integers("strides"), node.integers("dilations", (1, 1, 1, 1))
    if layout != "NHWC" or set(dilations) != {1} or padding not in ("SAME", "VALID") or len(strides) != 4:
        raise ConvertError(
            f"{_where(node)}: expected NHWC, no dilation, padding SAME or VALID and 4 strides, found "
            f"{layout}, dilations {dilations}, padding {padding}, strides {strides}"
        )
    return (strides[1], strides[2]), padding


def _output_size(size: int, kernel: int, stride: int, padding: str) -> int:
    """tf.nn.convolution: ⌈size / stride⌉ for SAME, ⌈(size − kernel + 1) / stride⌉ for VALID."""
    covered = size if padding == "SAME" else size - kernel + 1
    return -(-covered // stride)


def _resolved(node: Node, shape: tuple[int, ...], wanted: list[int]) -> tuple[int, ...]:
    """The wanted shape with its one −1 replaced by what is left."""
    count = int(np.prod(shape))
    known = int(np.prod([size for size in wanted if size >= 0]))
    if wanted.count(-1) == 1 and known:
        wanted = [count // known if size == -1 else size for size in wanted]
    if min(wanted, default=1) < 0 or int(np.prod(wanted)) != count:
        raise ConvertError(f"{_where(node)}: expected a shape of {count} values, found {wanted}")
    return tuple(wanted)
