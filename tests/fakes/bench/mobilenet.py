"""MobileNets with random weights, quantized to int8: as much work as the published ones, and nobody's weights.

The layers are those of "MobileNets" (Howard et al., arXiv 1704.04861, table 1) and "MobileNetV2" (Sandler et al.,
arXiv 1801.04381, table 2). What they say of a picture means nothing, but as with a trained network one class of the
thousand is far ahead: always the first, by its bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgeapp.manifest import InputSpec, Manifest, OutputSpec
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.quantize import quantize_int8, shifted_input
from edgeapp.workshop.tflite_file import ModelBuilder

_CLASSES = 1000
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(channels, stride) of each depthwise separable layer."""
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""(expansion, channels, repeats, stride of the first) of each block."""
_LEAD = 30.0  # the bias of the first class, in logits


class _Network:
    """A network under construction: the last tensor, its side and its channels."""

    def __init__(self, size_px: int, seed: int = 3) -> None:
        self._builder, self._random = ModelBuilder(), np.random.default_rng(seed)
        self._count = 0
        self.side, self.channels = size_px, 3
        self._input = self.last = self._builder.activation("input", (1, size_px, size_px, 3))

    def convolve(self, channels: int, kernel: int = 1, stride: int = 1, *, is_linear: bool = False) -> None:
        shape = (channels, kernel, kernel, self.channels)
        self._weigh(shape, kernel * kernel * self.channels, stride, "Conv2D", channels, is_linear=is_linear)

    def filter_depthwise(self, stride: int) -> None:
        self._weigh((1, 3, 3, self.channels), 9, stride, "DepthwiseConv2D", self.channels, is_linear=False)

    def add(self, earlier: int) -> None:
        self._append("ADD", [earlier, self.last], (1, self.side, self.side, self.channels), "Add", schema.AddOptionsT())

    def finish(self, gain: float = 1.0, lead: float = _LEAD) -> bytes:
        """Mean over the picture, one fully connected layer, softmax.

        `lead` favours the first class; `gain` scales the last weights: the larger, the more scores differ.
        """
        axes = self._builder.constant("axes", np.array([1, 2], np.int32))
        self._append("MEAN", [self.last, axes], (1, self.channels), "Reducer", schema.ReducerOptionsT())
        weights = self._random.normal(0, 1 / np.sqrt(self.channels), (_CLASSES, self.channels)) * gain
        bias = np.zeros(_CLASSES)
        bias[0] = lead
        operands = [self.last, self._constant("weights", weights), self._constant("bias", bias)]
        options = schema.FullyConnectedOptionsT()
        self._append("FULLY_CONNECTED", operands, (1, _CLASSES), "FullyConnected", options)
        softmax = schema.SoftmaxOptionsT()
        softmax.beta = 1.0
        self._append("SOFTMAX", [self.last], (1, _CLASSES), "Softmax", softmax)
        return self._builder.finish({"input": self._input}, {"scores": self.last}, "random weights")

    def _weigh(
        self, shape: tuple[int, ...], fan_in: int, stride: int, kind: str, channels: int, *, is_linear: bool
    ) -> None:
        """A convolution with He's initial weights (arXiv 1502.01852)."""
        weights = self._random.normal(0, np.sqrt((1 if is_linear else 2) / fan_in), shape)
        operands = [self.last, self._constant("weights", weights), self._constant("bias", np.zeros(channels))]
        options = getattr(schema, f"{kind}OptionsT")()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = stride
        functions = schema.ActivationFunctionType
        options.fusedActivationFunction = functions.NONE if is_linear else functions.RELU6
        if kind == "DepthwiseConv2D":
            options.depthMultiplier = 1
        self.side, self.channels = -(-self.side // stride), channels
        operator = "DEPTHWISE_CONV_2D" if kind == "DepthwiseConv2D" else "CONV_2D"
        self._append(operator, operands, (1, self.side, self.side, channels), kind, options)

    def _constant(self, name: str, values: npt.NDArray[Any]) -> int:
        return self._builder.constant(f"{self._count}/{name}", values.astype(np.float32))

    def _append(self, operator: str, inputs: list[int], shape: tuple[int, ...], kind: str, options: object) -> None:
        self._count += 1
        self.last = self._builder.activation(f"{self._count}/{operator}", shape)
        self._builder.operator(operator, inputs, self.last, (f"{kind}Options", options))


def mobilenet_v1(width: float, size_px: int, *, gain: float = 1.0, lead: float = _LEAD) -> bytes:
    """The float32 .tflite file of MobileNetV1 with this width multiplier; for the rest see `_Network.finish`."""
    network = _Network(size_px)
    network.convolve(_channels(32, width), kernel=3, stride=2)
    for channels, stride in _V1:
        network.filter_depthwise(stride)
        network.convolve(_channels(channels, width))
    return network.finish(gain, lead)


def mobilenet_v2(width: float, size_px: int) -> bytes:
    """The float32 .tflite file of MobileNetV2 with this width multiplier."""
    network = _Network(size_px)
    network.convolve(_channels(32, width), kernel=3, stride=2)
    for expansion, channels, repeats, first_stride in _V2:
        for index in range(repeats):
            stride = first_stride if index == 0 else 1
            before, before_channels = network.last, network.channels
            if expansion > 1:
                network.convolve(before_channels * expansion)
            network.filter_depthwise(stride)
            network.convolve(_channels(channels, width), is_linear=True)
            if stride == 1 and before_channels == network.channels:
                network.add(before)
    network.convolve(max(1280, _channels(1280, width)))
    return network.finish()


def _channels(count: int, width: float) -> int:
    """Multiples of 8, as the published networks have."""
    return max(8, int(count * width + 4) // 8 * 8)


def write_int8_folder(folder: Path, content: bytes, size_px: int, samples: list[npt.NDArray[np.uint8]]) -> None:
    """Quantize a float32 file into a model folder. `samples` are pictures (uint8 [size, size, 3]) to calibrate on."""
    folder.mkdir(parents=True)
    float_file, file = folder / "float32.tflite", folder / "model.tflite"
    float_file.write_bytes(content)
    spec = InputSpec(width=size_px, height=size_px, mean=(127.5,), std=(127.5,))
    inputs = [((sample[None, ..., ::-1] - 127.5) / 127.5).astype(np.float32) for sample in samples]
    quantized = quantize_int8(float_file, file, inputs, input_spec=spec)
    float_file.unlink()
    manifest = Manifest(
        name=folder.name,
        version=1,
        model=describe_file(file),
        task="classification",
        classes=tuple(f"class {index}" for index in range(_CLASSES)),
        input=shifted_input(spec, quantized),
        output=OutputSpec(decoder="classifier", tensors={"scores": quantized.outputs["scores"]}),
        quantization="int8",
    )
    write_manifest(folder, manifest)
