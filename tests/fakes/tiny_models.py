"""Tiny real models, made on the spot: a few kilobytes of .tflite whose detections follow the picture.

`make_model_folder` writes a whole model folder that the product's own loader takes. The networks are made by hand
with the runtime's flatbuffer schema, so tests need no download, no training, and know beforehand what must be found.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

DecoderName = Literal["ssd_raw", "ssd_postprocess", "classifier", "yolo"]
DtypeName = Literal["float32", "int8", "uint8"]

GRID = 16  # cells along a side, each looking at a quarter of the picture's side
_GAIN, _MIDDLE = 20.0, 0.65  # score = sigmoid(20 * (brightness - 0.65))
_ANCHORS_PER_CELL = 2  # of the manifest's one layer: the quarter-size square, and a half-size one that never fires
_QUIET = -12.0  # a logit that never fires
# The operator versions that first knew int8, as the runtime's register demands them.
_INT8_VERSIONS = {
    schema.BuiltinOperator.CONV_2D: 3,
    schema.BuiltinOperator.LOGISTIC: 2,
    schema.BuiltinOperator.CONCATENATION: 2,
}
_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int32": schema.TensorType.INT32,
}


def make_model_folder(
    path: Path,
    *,
    decoder: DecoderName = "ssd_raw",
    dtype: DtypeName = "int8",
    classes: tuple[str, ...] = ("person",),
    size_px: int = 32,
    resize: Literal["stretch", "letterbox"] = "stretch",
    name: str = "bright-spot",
    version: int = 1,
    min_score: float = 0.5,
    nan_above: float | None = None,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write model.tflite and model.json into the folder `path` (made if need be) and return it.

    Detectors (`ssd_raw`, `ssd_postprocess`, `yolo`) look at windows of a quarter of the input's side, on a grid of
    16 by 16, and score each by its mean brightness: sigmoid(20 * (mean of the channels / 255 - 0.65)), where what
    lies beyond the input is black. A white square of a quarter of the input's side on a dark ground gives exactly
    one detection, whose box has its size and lies within one sixteenth of the side (two pixels of 32) of it, with a
    score from 0.9 (between two cells) to 0.999 (on a cell: centres at (n + 0.5) / 16); as it leaves the picture it is
    lost when about a third of it is outside. A dark picture gives none, larger white areas give several boxes side
    by side. With two or three `classes` the first answers to red, the second to green, the third to blue areas, and
    white says nothing.

    The `classifier` does the same for the whole picture at once, with a background column first: a bright picture
    is classes[0] (with several classes: red, green, blue).

    `dtype` is that of input, weights and outputs: int8 (weights per channel, the pixel shifted by 128), uint8 (the
    legacy scheme per tensor), or float32 (pixel / 255). `ssd_postprocess` always answers in float32 and so needs
    dtype="float32"; so does `nan_above`, with which scores are NaN where a pixel is brighter (0 to 1; below 0: always).
    `size_px` is the input's side, a multiple of 16. `changes` replaces top-level entries of model.json, to write
    wrong ones.
    """
    if (decoder == "ssd_postprocess" or nan_above is not None) and dtype != "float32":
        raise ValueError("ssd_postprocess and nan_above need dtype='float32'")
    if size_px % GRID:
        raise ValueError(f"size_px must be a multiple of {GRID}, not {size_px}")
    content = _Network(dtype, size_px, len(classes), nan_above).build(decoder)
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.tflite").write_bytes(content)
    manifest = {
        "name": name,
        "version": version,
        "model": {
            "file": "model.tflite",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        },
        "task": "classification" if decoder == "classifier" else "detection",
        "classes": list(classes),
        "input": {"width": size_px, "height": size_px, "colour_order": "rgb", "resize": resize},
        "output": _output_spec(decoder),
        "quantization": dtype,
        "defaults": {"min_score": min_score, "nms_iou": 0.3},
        **(changes or {}),
    }
    (path / "model.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return path


def endless_model() -> bytes:
    """A model file that the runtime builds and then crashes on (SIGSEGV): its IF holds itself, without end."""

    def graph(name: str) -> Any:
        made = schema.SubGraphT()
        made.name, made.inputs, made.outputs = name, [1], [2]
        made.tensors = []
        for tensor_name, kind, buffer in (("is_so", "BOOL", 1), ("image", "FLOAT32", 0), ("scores", "FLOAT32", 0)):
            tensor = schema.TensorT()
            tensor.name, tensor.shape, tensor.buffer = tensor_name, [1, 1, 1, 3] if buffer == 0 else [1], buffer
            tensor.type = getattr(schema.TensorType, kind)
            made.tensors.append(tensor)
        choice = schema.OperatorT()
        choice.opcodeIndex, choice.inputs, choice.outputs = 0, [0, 1], [2]
        choice.builtinOptionsType, choice.builtinOptions = schema.BuiltinOptions.IfOptions, schema.IfOptionsT()
        choice.builtinOptions.thenSubgraphIndex = choice.builtinOptions.elseSubgraphIndex = 1
        made.operators = [choice]
        return made

    model, code, yes = schema.ModelT(), schema.OperatorCodeT(), schema.BufferT()
    yes.data = np.ones(1, np.uint8)
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.IF
    code.version = 1
    model.version, model.operatorCodes, model.buffers = 3, [code], [schema.BufferT(), yes]
    model.subgraphs = [graph("main"), graph("again")]
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def one_convolution() -> bytes:
    """A model file of one int8 convolution, `x` to `y`, both [1, 1, 1, 8], whose weights are the identity."""
    network = _Network("int8", GRID, 1)
    return network.build_identity(8)


def bright_spot(
    width: int,
    height: int,
    *,
    centre: tuple[float, float] = (0.5, 0.5),
    side: float = 0.25,
    colour_bgr: tuple[int, int, int] = (255, 255, 255),
) -> npt.NDArray[np.uint8]:
    """A dark picture, uint8 [height, width, 3] BGR, with one bright rectangle; centre and side as shares of it."""
    picture = np.full((height, width, 3), 16, np.uint8)
    x, y = centre
    top, bottom = (max(round((y + half) * height), 0) for half in (-side / 2, side / 2))
    left, right = (max(round((x + half) * width), 0) for half in (-side / 2, side / 2))
    picture[top:bottom, left:right] = colour_bgr
    return picture


def _output_spec(decoder: DecoderName) -> dict[str, Any]:
    roles = {
        "ssd_raw": ("boxes", "scores"),
        "ssd_postprocess": ("boxes", "classes", "scores", "count"),
        "classifier": ("scores",),
        "yolo": ("predictions",),
    }[decoder]
    spec: dict[str, Any] = {"decoder": decoder, "tensors": {role: role for role in roles}}
    if decoder in ("ssd_raw", "classifier"):
        spec["background"] = "first"
    if decoder == "ssd_raw":
        spec["anchors"] = {
            "layers": [GRID],
            "min_scale": 0.25,
            "max_scale": 0.25,
            "aspect_ratios": [1.0],
            "reduce_lowest": False,
        }
    return spec


@dataclass(frozen=True, slots=True)
class _Quantization:
    scale: float
    zero_point: int


class _Network:
    """Writes one network: a convolution that averages windows to logits, a sigmoid, and what the head needs more."""

    def __init__(self, dtype: DtypeName, size_px: int, class_count: int, nan_above: float | None = None) -> None:
        self._dtype, self._size_px, self._class_count, self._nan_above = dtype, size_px, class_count, nan_above
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[tuple[int, str]] = []
        low = -128 if dtype == "int8" else 0
        self._unit = _Quantization(1 / 255, low)  # pixels
        self._score = _Quantization(1 / 256, low)  # what LOGISTIC demands of its output
        self._logit = _Quantization(0.1, low + 150)  # -15 to 10.5
        self._code = _Quantization(0.05, low + 128)  # box codes

    def build(self, decoder: DecoderName) -> bytes:
        image = self._tensor("image", (1, self._size_px, self._size_px, 3), self._unit)
        make = {
            "ssd_raw": self._ssd_raw,
            "ssd_postprocess": self._ssd_postprocess,
            "classifier": self._classifier,
            "yolo": self._yolo,
        }[decoder]
        return self._finish(image, make(image))

    def build_identity(self, channels: int) -> bytes:
        one = _Quantization(1.0, 0)
        shape = (1, 1, 1, channels)
        source = self._tensor("x", shape, one)
        weights = self._tensor("w", (channels, 1, 1, channels), data=np.eye(channels, dtype=np.int8)[:, None, None, :])
        bias = self._tensor("b", (channels,), data=np.zeros(channels, np.int32), dtype="int32")
        for tensor in (weights, bias):
            self._set_quantization(tensor, np.ones(channels), 0)
        output = self._tensor("y", shape, one)
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        self._operator("CONV_2D", [source, weights, bias], [output], options)
        return self._finish(source, [output])

    def _ssd_raw(self, image: int) -> list[int]:
        return [self._codes_of_zero(image), self._scores(image, "scores", _ANCHORS_PER_CELL, has_background=True)]

    def _ssd_postprocess(self, image: int) -> list[int]:
        codes = self._codes_of_zero(image)
        scores = self._scores(image, "columns", _ANCHORS_PER_CELL, has_background=True)
        anchors = self._tensor("anchors", (GRID * GRID * _ANCHORS_PER_CELL, 4), data=_anchors())
        slots = 10
        shapes = {"boxes": (1, slots, 4), "classes": (1, slots), "scores": (1, slots), "count": (1,)}
        outputs = [self._tensor(name, shape) for name, shape in shapes.items()]
        options = flexbuffers.Dumps(
            {
                "max_detections": slots,
                "max_classes_per_detection": 1,
                "num_classes": self._class_count,
                "nms_score_threshold": 0.01,
                "nms_iou_threshold": 0.3,
                "y_scale": 10.0,
                "x_scale": 10.0,
                "h_scale": 5.0,
                "w_scale": 5.0,
                "use_regular_nms": False,
            }
        )
        self._operator("CUSTOM", [codes, scores, anchors], outputs, custom="TFLite_Detection_PostProcess")
        self._operators[-1].customOptions = np.frombuffer(bytes(options), np.uint8)
        return outputs

    def _classifier(self, image: int) -> list[int]:
        return [self._scores(image, "scores", 1, has_background=True, is_whole=True)]

    def _yolo(self, image: int) -> list[int]:
        """Cells as rows: centre x, centre y, width, height as shares, then the classes."""
        scores = self._scores(image, "columns", 1, has_background=False)
        grid = _anchors()[::_ANCHORS_PER_CELL]
        boxes = np.minimum(grid[:, [1, 0, 3, 2]], 255 / 256)[None]
        place = self._tensor("cells", boxes.shape, self._score, self._quantize(boxes, self._score))
        output = self._tensor("predictions", (1, GRID * GRID, 4 + self._class_count), self._score)
        options = schema.ConcatenationOptionsT()
        options.axis = 2
        self._operator("CONCATENATION", [place, scores], [output], options)
        return [output]

    def _codes_of_zero(self, image: int) -> int:
        columns = 4 * _ANCHORS_PER_CELL
        convolved = self._convolve(image, "codes", np.zeros((columns, 3)), np.zeros(columns), self._code)
        return self._reshape(convolved, "boxes", (1, GRID * GRID * _ANCHORS_PER_CELL, 4), self._code)

    def _scores(self, image: int, name: str, anchors: int, *, has_background: bool, is_whole: bool = False) -> int:
        """[1, cells * anchors, columns] of a sigmoid; only the first anchor of a cell ever fires."""
        weights, bias = _colour_weights(self._class_count)
        if has_background:
            weights = np.concatenate((-weights[:1], weights))
            bias = np.concatenate((-bias[:1], bias))
        columns = len(bias)
        quiet = np.zeros(((anchors - 1) * columns, 3)), np.full((anchors - 1) * columns, _QUIET)
        weights, bias = np.concatenate((weights, quiet[0])), np.concatenate((bias, quiet[1]))
        if self._nan_above is not None:
            image = self._poison(image, self._nan_above)
        convolved = self._convolve(image, "logits", weights, bias, self._logit, is_whole=is_whole)
        shape = (1, columns) if is_whole else (1, GRID * GRID * anchors, columns)
        logits = self._reshape(convolved, "flat", shape, self._logit)
        output = self._tensor(name, shape, self._score)
        self._operator("LOGISTIC", [logits], [output])
        return output

    def _poison(self, image: int, limit: float) -> int:
        """image + 0 * sqrt(limit - image): the image itself, and NaN where it is above the limit."""
        limits = self._tensor("limit", (1,), data=np.array([limit], np.float32))
        zeros = self._tensor("zero", (1,), data=np.zeros(1, np.float32))
        last = image
        for code, inputs, options in (
            ("SUB", (limits, image), schema.SubOptionsT()),
            ("SQRT", (), None),
            ("MUL", (zeros,), schema.MulOptionsT()),
            ("ADD", (image,), schema.AddOptionsT()),
        ):
            output = self._tensor(code.lower(), (1, self._size_px, self._size_px, 3), self._unit)
            self._operator(code, list(inputs) if code == "SUB" else [last, *inputs], [output], options)
            last = output
        return last

    def _convolve(
        self,
        image: int,
        name: str,
        weights: npt.NDArray[Any],
        bias: npt.NDArray[Any],
        output: _Quantization,
        *,
        is_whole: bool = False,
    ) -> int:
        """Logits of the mean colour of each window, or of the whole picture, by weights [columns, 3].

        int8 weights have one scale for each column, uint8 one for all.
        """
        columns = len(bias)
        window = self._size_px if is_whole else self._size_px // 4
        spread = np.broadcast_to(weights[:, None, None, :] / window**2, (columns, window, window, 3))
        if self._dtype == "float32":
            kernel = self._tensor(f"{name}/w", spread.shape, data=spread.astype(np.float32))
            offset = self._tensor(f"{name}/b", (columns,), data=bias.astype(np.float32))
        else:
            is_per_column = self._dtype == "int8"
            zero_point = 0 if is_per_column else 128
            largest = np.abs(spread).max(axis=(1, 2, 3))
            scales = np.where(largest > 0, largest, 1e-3) / 127
            scales = scales if is_per_column else np.full(columns, scales.max())
            kept = scales if is_per_column else scales[:1]
            numbers = np.rint(spread / scales[:, None, None, None]) + zero_point
            kernel = self._tensor(f"{name}/w", spread.shape, data=numbers.astype(self._dtype))
            self._set_quantization(kernel, kept, zero_point)
            bias_numbers = np.rint(bias / (scales * self._unit.scale))
            if np.abs(bias_numbers).max() > np.iinfo(np.int32).max:
                raise ValueError(f"size_px {self._size_px} is too large for a {self._dtype} {name}")
            offset = self._tensor(f"{name}/b", (columns,), data=bias_numbers.astype(np.int32), dtype="int32")
            self._set_quantization(offset, kept * self._unit.scale, 0)
        side = 1 if is_whole else GRID
        result = self._tensor(name, (1, side, side, columns), output)
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.VALID if is_whole else schema.Padding.SAME
        options.strideH = options.strideW = 1 if is_whole else self._size_px // GRID
        options.dilationHFactor = options.dilationWFactor = 1
        self._operator("CONV_2D", [image, kernel, offset], [result], options)
        return result

    def _reshape(self, source: int, name: str, shape: tuple[int, ...], quantization: _Quantization) -> int:
        wanted = self._tensor(f"{name}/shape", (len(shape),), data=np.array(shape, np.int32), dtype="int32")
        output = self._tensor(name, shape, quantization)
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        self._operator("RESHAPE", [source, wanted], [output], options)
        return output

    def _quantize(self, values: npt.NDArray[Any], quantization: _Quantization) -> npt.NDArray[Any]:
        if self._dtype == "float32":
            return values.astype(np.float32)
        return (np.rint(values / quantization.scale) + quantization.zero_point).astype(self._dtype)

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        quantization: _Quantization | None = None,
        data: npt.NDArray[Any] | None = None,
        dtype: str | None = None,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, [int(size) for size in shape], 0
        tensor.type = _TYPES[dtype or self._dtype]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self._buffers.append(buffer)
            tensor.buffer = len(self._buffers) - 1
        self._tensors.append(tensor)
        if quantization is not None and self._dtype != "float32":
            self._set_quantization(len(self._tensors) - 1, np.array([quantization.scale]), quantization.zero_point)
        return len(self._tensors) - 1

    def _set_quantization(self, tensor: int, scales: npt.NDArray[Any], zero_point: int) -> None:
        parameters = schema.QuantizationParametersT()
        parameters.scale = scales.astype(np.float32)
        parameters.zeroPoint = np.full(len(scales), zero_point, np.int64)
        parameters.quantizedDimension = 0
        self._tensors[tensor].quantization = parameters

    def _operator(
        self, code: str, inputs: list[int], outputs: list[int], options: Any = None, custom: str = ""
    ) -> None:
        key = (getattr(schema.BuiltinOperator, code), custom)
        if key not in self._codes:
            self._codes.append(key)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes.index(key), inputs, outputs
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, kind), options
        self._operators.append(operator)

    def _finish(self, image: int, outputs: list[int]) -> bytes:
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = [image], outputs
        model = schema.ModelT()
        model.version, model.description, model.subgraphs, model.buffers = 3, "tiny", [graph], self._buffers
        model.operatorCodes = []
        for builtin, custom in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.customCode = builtin, min(builtin, 127), custom or None
            code.version = _INT8_VERSIONS.get(builtin, 1) if self._dtype == "int8" else 1
            model.operatorCodes.append(code)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _colour_weights(class_count: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Weights [classes, 3] over red, green, blue and bias [classes] of the logits."""
    if class_count == 1:
        return np.full((1, 3), _GAIN / 3), np.full(1, -_GAIN * _MIDDLE)
    if class_count > 3:
        raise ValueError(f"at most 3 classes, not {class_count}")
    # A pure colour gives 1, white gives 0.
    weights = _GAIN * (1.5 * np.eye(3) - 0.5)[:class_count]
    return weights, np.full(class_count, -_GAIN * _MIDDLE)


def _anchors() -> npt.NDArray[np.float32]:
    """Centre y, centre x, height, width of both anchors of every cell, as the manifest's grid has them."""
    cells = (np.arange(GRID) + 0.5) / GRID
    y, x = np.meshgrid(cells, cells, indexing="ij")
    rows = [np.stack((y, x, np.full_like(y, side), np.full_like(y, side)), -1) for side in (0.25, 0.5)]
    return np.stack(rows, axis=2).reshape(-1, 4).astype(np.float32)
