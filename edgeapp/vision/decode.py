"""Output tensors to detections, for each kind of head that the manifest knows, pure.

Owns what the numbers of an output mean. `build_decoder` checks once, when a model is loaded, that the tensors fit
the manifest; decoding a frame then costs a comparison per score where nothing is seen. Scores are compared as the
quantized numbers they are: the activation rises with its input, so "score >= minimum" is "number >= threshold", and
that threshold is found once. Only what passes it becomes a real number.

Each row (anchor, cell) gives at most one detection, of its best class, as TFLite's fast suppression and YOLO's
default do; doubles are suppressed within a class. Every output that is used must be finite.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeapp.errors import ManifestError, ModelError
from edgeapp.vision import boxes as geometry
from edgeapp.vision.boxes import Placement
from edgeapp.vision.tensor import KNOWN_DTYPES, TensorSpec, dequantize, every_real_value, lowest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from edgeapp.manifest import Manifest, OutputSpec
    from edgeapp.types import Detection

    Array = npt.NDArray[Any]
    Reals = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.intp]

ROLES = {
    "ssd_raw": ("boxes", "scores"),
    "ssd_postprocess": ("boxes", "classes", "scores", "count"),
    "classifier": ("scores",),
    "yolo": ("predictions",),
}
_HIGHEST_SCORE = 1.05  # quantization may carry a 1 a little too far; beyond it the outputs are no scores
_MAX_SHARE = 2.0  # a centre or size above it is in pixels


class Decoder(Protocol):
    """Turns one frame's outputs into detections. `tensors` are the specs of what it wants, by role."""

    tensors: Mapping[str, TensorSpec]

    def decode(self, outputs: Mapping[str, Array], placement: Placement) -> tuple[Detection, ...]:
        """Detections in shares of the picture, best first.

        `outputs` are the raw tensors by role, `placement` says where in the input the picture lies.

        Raises:
            ModelError: an output is not finite, or is no score.
        """


def build_decoder(manifest: Manifest, outputs: Mapping[str, TensorSpec], min_score: float | None = None) -> Decoder:
    """The decoder that `manifest` names, after checking that the model's `outputs` (by tensor name) fit it.

    `min_score` replaces the manifest's own.

    Raises:
        ManifestError: the manifest contradicts itself.
        ModelError: a tensor is missing, or its shape or type is not what the manifest promises.
    """
    kind = manifest.output.decoder
    if (kind == "classifier") != (manifest.task == "classification"):
        raise ManifestError(f"model.json: task {manifest.task!r} does not go with output.decoder {kind!r}")
    tensors = {role: _find(role, manifest.output, outputs) for role in ROLES[kind]}
    limit = manifest.defaults.min_score if min_score is None else min_score
    return _DECODERS[kind](manifest, tensors, limit)


def _find(role: str, spec: OutputSpec, outputs: Mapping[str, TensorSpec]) -> TensorSpec:
    unknown = sorted(set(spec.tensors) - set(ROLES[spec.decoder]))
    if role not in spec.tensors or unknown:
        raise ManifestError(
            f"model.json: output.tensors: expected {', '.join(ROLES[spec.decoder])} for decoder {spec.decoder!r}, "
            f"found {', '.join(sorted(spec.tensors)) or 'nothing'}"
        )
    name = spec.tensors[role]
    if name not in outputs:
        raise ModelError(f"expected an output tensor {name!r} ({role}), found {', '.join(map(repr, sorted(outputs)))}")
    tensor = outputs[name]
    if tensor.dtype not in KNOWN_DTYPES:
        raise ModelError(f"output {tensor}: expected {', '.join(KNOWN_DTYPES)}, found {tensor.dtype}")
    if tensor.is_quantized and not (math.isfinite(tensor.scale) and tensor.scale > 0):
        raise ModelError(f"output {tensor}: expected a quantization scale above 0, found {tensor.scale}")
    return tensor


def _expect_shape(tensor: TensorSpec, expected: tuple[int, ...], why: str) -> None:
    if tensor.shape != expected:
        raise ModelError(f"output {tensor}: expected shape {list(expected)} ({why}), found {list(tensor.shape)}")


def _check_finite(values: Array, tensor: TensorSpec) -> None:
    if not tensor.is_quantized and not np.isfinite(values).all():
        raise ModelError(f"output {tensor} is not finite")


def _sigmoid(reals: Reals) -> Reals:
    # This form of it cannot overflow, whatever the sign.
    result: Reals = 0.5 * (1.0 + np.tanh(0.5 * reals))
    return result


def _softmax(reals: Reals) -> Reals:
    powers = np.exp(reals - reals.max(axis=-1, keepdims=True))
    result: Reals = powers / powers.sum(axis=-1, keepdims=True)
    return result


class ScoreReader:
    """Finds the rows of a score table that reach the minimum, with their best class and its score.

    A table is [rows, columns] with one column for each class, and one more for the background if there is one.
    """

    def __init__(self, tensor: TensorSpec, output: OutputSpec, min_score: float) -> None:
        self._tensor = tensor
        self._activation = output.activation
        self._background = output.background
        self._min_score = min_score
        self._columns = {"first": slice(1, None), "last": slice(0, -1), "none": slice(None)}[output.background]
        self._logit = math.log(min_score / (1 - min_score))
        # The lowest raw number that reaches the minimum; None: no quantized number does. Softmax has no such number.
        self._threshold: float | None = self._logit if self._activation == "sigmoid" else min_score
        if tensor.is_quantized:
            reaching = np.flatnonzero(self._activate(every_real_value(tensor)) >= min_score)
            self._threshold = int(reaching[0]) + lowest(tensor) if len(reaching) else None

    def read(self, table: Array) -> tuple[Rows, Rows, Reals]:
        """(row numbers, class indices, scores) of the rows whose best class reaches the minimum.

        Raises:
            ModelError: a score is above 1.
        """
        if self._activation == "softmax":
            return self._read_softmax(table)
        columns = table[:, self._columns]
        # After an invoke nothing of NumPy is in the processor's cache, so what is run for each frame counts more than
        # how long it runs: looking for the maximum costs half of comparing all.
        if self._threshold is None or columns.item(int(columns.argmax())) < self._threshold:
            return _nothing()
        rows = np.flatnonzero((columns >= self._threshold).any(axis=1))
        chosen = columns[rows]
        classes = chosen.argmax(axis=1)
        return rows, classes, self.real_scores(chosen[np.arange(len(rows)), classes])

    def real_scores(self, values: Array) -> Reals:
        """Scores 0 to 1 of raw numbers, element by element; not for softmax, which needs whole rows."""
        scores = self._activate(dequantize(values, self._tensor))
        if len(scores) and scores.max() > _HIGHEST_SCORE:
            raise ModelError(
                f"output {self._tensor}: expected scores from 0 to 1, found {scores.max():.3g}: "
                f"does model.json lack output.activation?"
            )
        return np.minimum(scores, 1.0)

    def _activate(self, reals: Reals) -> Reals:
        return _sigmoid(reals) if self._activation == "sigmoid" else reals

    def _read_softmax(self, table: Array) -> tuple[Rows, Rows, Reals]:
        rows = self._softmax_candidates(table)
        if not len(rows):
            return _nothing()
        chosen = _softmax(dequantize(table[rows], self._tensor))[:, self._columns]
        classes = chosen.argmax(axis=1)
        scores = chosen[np.arange(len(rows)), classes]
        good = scores >= self._min_score
        return rows[good], classes[good], scores[good]

    def _softmax_candidates(self, table: Array) -> Rows:
        # p >= t and p + background <= 1 give logit - background's logit >= log(t / (1 - t)): a cheap first sieve.
        if self._background == "none":
            return np.arange(len(table))
        background = table[:, 0 if self._background == "first" else -1]
        wide = np.int16 if self._tensor.is_quantized else np.float64
        lead = table[:, self._columns].max(axis=1).astype(wide) - background
        step = self._tensor.scale if self._tensor.is_quantized else 1.0
        return np.flatnonzero(lead >= self._logit / step - 1e-6)


def _nothing() -> tuple[Rows, Rows, Reals]:
    return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0)


def _column_count(manifest: Manifest) -> int:
    return len(manifest.classes) + (manifest.output.background != "none")


class SsdRaw:
    """The raw heads of TensorFlow's SSD models: box codes [1, anchors, 4] and scores [1, anchors, columns]."""

    def __init__(self, manifest: Manifest, tensors: Mapping[str, TensorSpec], min_score: float) -> None:
        if manifest.output.anchors is None:
            raise ManifestError("model.json: output.anchors: decoder 'ssd_raw' needs it, found nothing")
        if min(manifest.output.anchors.aspect_ratios) <= 0 or min(manifest.output.anchors.layers) <= 0:
            raise ManifestError("model.json: output.anchors: expected layers and aspect_ratios above 0")
        if not all(math.isfinite(scale) and scale > 0 for scale in manifest.output.box_scales):
            raise ManifestError(f"model.json: output.box_scales: expected above 0, found {manifest.output.box_scales}")
        count, columns = geometry.anchor_count(manifest.output.anchors), _column_count(manifest)
        _expect_shape(tensors["boxes"], (1, count, 4), "anchors of the manifest's layers")
        _expect_shape(tensors["scores"], (1, count, columns), "anchors, classes and background of the manifest")
        self.tensors = tensors
        self._anchors = geometry.make_anchors(manifest.output.anchors)
        self._box_scales = manifest.output.box_scales
        self._scores = ScoreReader(tensors["scores"], manifest.output, min_score)
        self._defaults = manifest.defaults

    def decode(self, outputs: Mapping[str, Array], placement: Placement) -> tuple[Detection, ...]:
        """See `Decoder.decode`."""
        _check_finite(outputs["scores"], self.tensors["scores"])
        _check_finite(outputs["boxes"], self.tensors["boxes"])
        rows, classes, scores = self._scores.read(outputs["scores"][0])
        if not len(rows):
            return ()
        codes = dequantize(outputs["boxes"][0][rows], self.tensors["boxes"])
        boxes = geometry.decode_ssd(codes, self._anchors[rows], self._box_scales)
        kept = geometry.suppress(
            boxes, scores, classes, max_iou=self._defaults.nms_iou, limit=self._defaults.max_detections
        )
        return geometry.to_detections(boxes[kept], scores[kept], classes[kept], placement)


class SsdPostprocess:
    """The four outputs of the TFLite_Detection_PostProcess operator, which has suppressed doubles already.

    Boxes are y_min, x_min, y_max, x_max in shares of the input; its class numbers leave the background out, and so
    do the manifest's. Rows beyond the count hold nothing and are not looked at.
    """

    def __init__(self, manifest: Manifest, tensors: Mapping[str, TensorSpec], min_score: float) -> None:
        slots = tensors["boxes"].shape[1] if len(tensors["boxes"].shape) == 3 else 0
        _expect_shape(tensors["boxes"], (1, slots, 4), "boxes of TFLite_Detection_PostProcess")
        _expect_shape(tensors["classes"], (1, slots), "one class for each box")
        _expect_shape(tensors["scores"], (1, slots), "one score for each box")
        _expect_shape(tensors["count"], (1,), "the number of boxes")
        self.tensors = tensors
        self._slots = slots
        self._class_count = len(manifest.classes)
        self._min_score = min_score
        self._limit = manifest.defaults.max_detections

    def decode(self, outputs: Mapping[str, Array], placement: Placement) -> tuple[Detection, ...]:
        """See `Decoder.decode`."""
        count = self._read_count(outputs["count"])
        boxes, scores, classes = (self._read(outputs[role], role, count) for role in ("boxes", "scores", "classes"))
        rows = np.flatnonzero(scores >= self._min_score)
        rows = rows[np.argsort(-scores[rows], kind="stable")][: self._limit]
        if not len(rows):
            return ()
        class_indices = np.rint(classes[rows]).astype(np.intp)
        if class_indices.min() < 0 or class_indices.max() >= self._class_count:
            raise ModelError(
                f"output {self.tensors['classes']}: expected classes 0 to {self._class_count - 1}, "
                f"found {class_indices.min()} to {class_indices.max()}"
            )
        return geometry.to_detections(boxes[rows], np.minimum(scores[rows], 1.0), class_indices, placement)

    def _read_count(self, values: Array) -> int:
        _check_finite(values, self.tensors["count"])
        count = float(dequantize(values, self.tensors["count"])[0])
        if not 0 <= count <= self._slots:
            raise ModelError(f"output {self.tensors['count']}: expected 0 to {self._slots} boxes, found {count:g}")
        return round(count)

    def _read(self, values: Array, role: str, count: int) -> Reals:
        used = values[0][:count]
        _check_finite(used, self.tensors[role])
        return dequantize(used, self.tensors[role])


class Classifier:
    """One score for each class of the whole picture: [1, columns]. Says the best class, if it reaches the minimum.

    The detection's box is the whole picture.
    """

    def __init__(self, manifest: Manifest, tensors: Mapping[str, TensorSpec], min_score: float) -> None:
        columns = _column_count(manifest)
        scores = tensors["scores"]
        if scores.shape != (1, 1, 1, columns):  # some networks keep the singletons of their last pooling
            _expect_shape(scores, (1, columns), "classes and background of the manifest")
        self.tensors = tensors
        self._scores = ScoreReader(scores, manifest.output, min_score)

    def decode(self, outputs: Mapping[str, Array], placement: Placement) -> tuple[Detection, ...]:
        """See `Decoder.decode`. The placement does not matter: the box is the whole picture."""
        _check_finite(outputs["scores"], self.tensors["scores"])
        _, classes, scores = self._scores.read(outputs["scores"].reshape(1, -1))
        whole = np.tile((0.0, 0.0, 1.0, 1.0), (len(scores), 1))
        return geometry.to_detections(whole, scores, classes, geometry.STRETCHED)


class Yolo:
    """YOLO's single output: centre x, centre y, width, height, perhaps objectness, then a score for each class.

    [1, 4 + classes, cells] or its transposed (v8 and later), [1, cells, 5 + classes] or its transposed (v5: score =
    objectness * class score). Exports differ in the unit of the coordinates and do not say which they use: where any
    coordinate of the frame's output is above 2 they are taken for pixels of the input, else for shares of it.
    """

    def __init__(self, manifest: Manifest, tensors: Mapping[str, TensorSpec], min_score: float) -> None:
        tensor = tensors["predictions"]
        if manifest.output.background != "none":
            raise ManifestError("model.json: output.background: decoder 'yolo' knows only 'none'")
        self.tensors = tensors
        self._tensor = tensor
        self._is_transposed, self._has_objectness = _yolo_layout(tensor, len(manifest.classes))
        if self._has_objectness and manifest.output.activation == "softmax":
            raise ManifestError("model.json: output.activation: 'softmax' does not go with YOLO's objectness")
        self._scores = ScoreReader(tensor, manifest.output, min_score)
        self._min_score = min_score
        self._input_size = np.array((manifest.input.width, manifest.input.height), np.float64)
        self._defaults = manifest.defaults

    def decode(self, outputs: Mapping[str, Array], placement: Placement) -> tuple[Detection, ...]:
        """See `Decoder.decode`."""
        values = outputs["predictions"]
        _check_finite(values, self._tensor)
        table = values[0].T if self._is_transposed else values[0]
        rows, classes, scores = self._read_objects(table) if self._has_objectness else self._scores.read(table[:, 4:])
        if not len(rows):
            return ()
        coordinates = dequantize(table[rows, :4], self._tensor)
        if dequantize(table[:, :4].max(), self._tensor) > _MAX_SHARE:
            coordinates /= np.tile(self._input_size, 2)
        boxes = geometry.corners(coordinates[:, 1::-1], coordinates[:, 3:1:-1])
        kept = geometry.suppress(
            boxes, scores, classes, max_iou=self._defaults.nms_iou, limit=self._defaults.max_detections
        )
        return geometry.to_detections(boxes[kept], scores[kept], classes[kept], placement)

    def _read_objects(self, table: Array) -> tuple[Rows, Rows, Reals]:
        # A class score is at most 1, so the objectness alone must reach the minimum.
        rows, _, objectness = self._scores.read(table[:, 4:5])
        class_values = table[rows, 5:]
        classes = class_values.argmax(axis=1)
        scores = objectness * self._scores.real_scores(class_values[np.arange(len(rows)), classes])
        good = scores >= self._min_score
        return rows[good], classes[good], scores[good]


def _yolo_layout(tensor: TensorSpec, class_count: int) -> tuple[bool, bool]:
    """(are cells the last axis, is there an objectness) for a YOLO output."""
    widths = (4 + class_count, 5 + class_count)
    if len(tensor.shape) == 3 and tensor.shape[0] == 1:
        _, first, last = tensor.shape
        if (first in widths) != (last in widths):
            width = first if first in widths else last
            return first in widths, width == widths[1]
    raise ModelError(
        f"output {tensor}: expected [1, {widths[0]} or {widths[1]}, cells] or [1, cells, {widths[0]} or {widths[1]}] "
        f"for {class_count} classes, found {list(tensor.shape)}"
    )


_DECODERS: dict[str, Callable[[Manifest, Mapping[str, TensorSpec], float], Decoder]] = {
    "ssd_raw": SsdRaw,
    "ssd_postprocess": SsdPostprocess,
    "classifier": Classifier,
    "yolo": Yolo,
}
