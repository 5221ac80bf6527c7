"""Encodes small TensorFlow 1 graphs as GraphDef protobufs, and computes what they mean with plain NumPy.

Written from the protobuf definitions, not from the reader under test.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_TYPE_NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(values: npt.NDArray[Any]) -> bytes:
    """A TensorProto with its values in tensor_content."""
    return tensor_head(values.dtype.name, values.shape) + bytes_field(4, values.tobytes())


def tensor_head(dtype: str, shape: Sequence[int]) -> bytes:
    dimensions = b"".join(bytes_field(2, number_field(1, size)) for size in shape)
    return number_field(1, _TYPE_NUMBERS[dtype]) + bytes_field(2, dimensions)


def attribute(value: object) -> bytes:
    """An AttrValue of the kind that the Python type stands for."""
    if isinstance(value, bool):
        return number_field(5, value)
    if isinstance(value, int):
        return number_field(3, value)
    if isinstance(value, float):
        return varint(4 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        return bytes_field(2, value.encode())
    if isinstance(value, list):
        return bytes_field(1, bytes_field(3, b"".join(varint(item) for item in value)))
    if isinstance(value, np.ndarray):
        return bytes_field(8, tensor(value))
    assert isinstance(value, bytes)
    return bytes_field(8, value)  # a TensorProto that is encoded already


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: object) -> bytes:
    parts = [bytes_field(1, name.encode()), bytes_field(2, op.encode())]
    parts += [bytes_field(3, one.encode()) for one in inputs]
    for key, value in attributes.items():
        parts.append(bytes_field(5, bytes_field(1, key.encode()) + bytes_field(2, attribute(value))))
    return b"".join(parts)


def constant(name: str, values: npt.NDArray[Any]) -> bytes:
    return node(name, "Const", value=values)


def graph(*nodes: bytes) -> bytes:
    return b"".join(bytes_field(1, one) for one in nodes)


def convolution(name: str, source: str, kernel: str, stride: int = 1, padding: str = "SAME", **more: object) -> bytes:
    op = str(more.pop("op", "Conv2D"))
    fixed: dict[str, object] = {"strides": [1, stride, stride, 1], "padding": padding, "data_format": "NHWC"}
    return node(name, op, [source, kernel], **(fixed | more))


def batch_norm(name: str, source: str, parameters: Sequence[str], epsilon: float, is_training: bool = False) -> bytes:
    return node(name, "FusedBatchNorm", [source, *parameters], epsilon=epsilon, is_training=is_training)


def convolve(picture: Floats, kernel: Floats, stride: int, padding: str, *, is_depthwise: bool = False) -> Floats:
    """tf.nn.conv2d / depthwise_conv2d of [1, h, w, c] with [kh, kw, c, out or multiplier], as they are defined."""
    kernel_height, kernel_width, channels, last = kernel.shape
    rows = _positions(picture.shape[1], kernel_height, stride, padding)
    columns = _positions(picture.shape[2], kernel_width, stride, padding)
    outputs = channels * last if is_depthwise else last
    result = np.zeros((1, len(rows), len(columns), outputs))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            for dy in range(kernel_height):
                for dx in range(kernel_width):
                    y, x = top + dy, left + dx
                    if 0 <= y < picture.shape[1] and 0 <= x < picture.shape[2]:
                        values = picture[0, y, x]
                        if is_depthwise:
                            result[0, i, j] += (values[:, None] * kernel[dy, dx]).reshape(-1)
                        else:
                            result[0, i, j] += values @ kernel[dy, dx]
    return result


def _positions(size: int, kernel: int, stride: int, padding: str) -> list[int]:
    """Where the kernel starts along one axis; SAME puts the odd pixel of padding at the end."""
    if padding == "VALID":
        return list(range(0, size - kernel + 1, stride))
    count = (size + stride - 1) // stride
    before = max((count - 1) * stride + kernel - size, 0) // 2
    return [index * stride - before for index in range(count)]


def normalise(values: Floats, gamma: Floats, beta: Floats, mean: Floats, variance: Floats, epsilon: float) -> Floats:
    return gamma * (values - mean) / np.sqrt(variance + epsilon) + beta


def relu6(values: Floats) -> Floats:
    return np.clip(values, 0.0, 6.0)


class TinyDetector:
    """An SSD detector of one feature map: two convolutions, a depthwise one, a residual, a head for each output.

    `content` is its frozen graph, from `input_node` to `outputs`; `compute` is what it means.
    """

    input_node = "normalised"
    input_shape = (1, 8, 8, 3)
    outputs = {"boxes": "Squeeze", "scores": "probabilities"}  # noqa: RUF012
    _EPSILON = 0.001

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._weights = {
            "stem": random.normal(0, 0.4, (3, 3, 3, 4)),
            "depthwise": random.normal(0, 0.4, (3, 3, 4, 1)),
            "boxes_head": random.normal(0, 0.4, (1, 1, 4, 8)),
            "scores_head": random.normal(0, 0.4, (1, 1, 4, 4)),
        }
        self._norms = {
            name: (
                random.uniform(0.5, 1.5, 4),
                random.normal(0, 0.3, 4),
                random.normal(0, 0.3, 4),
                random.uniform(0.3, 2.0, 4),
            )
            for name in ("stem", "depthwise")
        }
        self._biases = {"boxes_head": random.normal(0, 0.3, 8), "scores_head": random.normal(0, 0.3, 4)}
        # As the file keeps them.
        self._weights = {name: values.astype(np.float32).astype(float) for name, values in self._weights.items()}
        self._biases = {name: values.astype(np.float32).astype(float) for name, values in self._biases.items()}

    @property
    def content(self) -> bytes:
        nodes = [
            node("picture", "Placeholder"),
            node("decode", "DecodeJpeg", ["picture"]),  # before the cut: not to be converted
            node(self.input_node, "Sub", ["decode", "decode"]),
            *self._block("stem", self.input_node, "Conv2D", 2),
            *self._block("depthwise", "stem/relu", "DepthwiseConv2dNative", 1),
            node("sum", "Add", ["depthwise/relu", "stem/relu"]),
            *self._head("boxes_head", [-1, 1, 4]),
            *self._head("scores_head", [-1, 2]),
            constant("axis", np.array(1, np.int32)),
            node("concat", "ConcatV2", ["boxes_head/reshape", "boxes_head/reshape", "axis"]),
            node("Squeeze", "Squeeze", ["concat"], squeeze_dims=[2]),
            node("concat_1", "ConcatV2", ["scores_head/reshape", "scores_head/reshape", "axis"]),
            constant("temperature", np.array(1.0, np.float32)),
            node("scaled", "RealDiv", ["concat_1", "temperature"]),
            node("probabilities", "Sigmoid", ["scaled"]),
        ]
        return graph(*nodes)

    def _block(self, name: str, source: str, op: str, stride: int) -> list[bytes]:
        statistics = [f"{name}/{part}" for part in ("gamma", "beta", "mean", "variance")]
        return [
            constant(f"{name}/weights", self._weights[name].astype(np.float32)),
            node(f"{name}/weights/read", "Identity", [f"{name}/weights"]),
            *(constant(key, part.astype(np.float32)) for key, part in zip(statistics, self._norms[name], strict=True)),
            convolution(f"{name}/conv", source, f"{name}/weights/read", stride, op=op),
            batch_norm(f"{name}/norm", f"{name}/conv", statistics, self._EPSILON),
            node(f"{name}/relu", "Relu6", [f"{name}/norm:0"]),
        ]

    def _head(self, name: str, tail: list[int]) -> list[bytes]:
        sizes = [f"{name}/size/{index}" for index in range(len(tail))]
        return [
            constant(f"{name}/weights", self._weights[name].astype(np.float32)),
            constant(f"{name}/biases", self._biases[name].astype(np.float32)),
            convolution(f"{name}/conv", "sum", f"{name}/weights"),
            node(f"{name}/bias", "BiasAdd", [f"{name}/conv", f"{name}/biases"]),
            node(f"{name}/shape", "Shape", ["stem/relu"]),
            *(
                constant(f"{name}/{key}", np.array([value], np.int32))
                for key, value in (("begin", 0), ("end", 1), ("step", 1))
            ),
            node(
                f"{name}/batch",
                "StridedSlice",
                [f"{name}/{key}" for key in ("shape", "begin", "end", "step")],
                shrink_axis_mask=1,
            ),
            *(constant(key, np.array(size, np.int32)) for key, size in zip(sizes, tail, strict=True)),
            node(f"{name}/target", "Pack", [f"{name}/batch", *sizes], N=1 + len(tail), axis=0),
            node(f"{name}/reshape", "Reshape", [f"{name}/bias", f"{name}/target"]),
        ]

    def compute(self, picture: Floats) -> tuple[Floats, Floats]:
        """(boxes [1, 64, 4], scores [1, 64, 2]) of a normalised picture [1, 8, 8, 3]."""
        stem = convolve(picture, self._weights["stem"], 2, "SAME")
        stem = relu6(normalise(stem, *self._norms["stem"], self._EPSILON))
        deep = convolve(stem, self._weights["depthwise"], 1, "SAME", is_depthwise=True)
        total = relu6(normalise(deep, *self._norms["depthwise"], self._EPSILON)) + stem
        boxes, logits = (
            (convolve(total, self._weights[name], 1, "SAME") + self._biases[name]).reshape(1, -1, width)
            for name, width in (("boxes_head", 4), ("scores_head", 2))
        )
        doubled = np.concatenate([logits, logits], axis=1)
        return np.concatenate([boxes, boxes], axis=1), 1 / (1 + np.exp(-doubled))
