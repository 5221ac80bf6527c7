"""Decoding: every head against values worked out by hand or against a slow reference."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.errors import ManifestError, ModelError
from edgeapp.manifest import Defaults, FileSpec, InputSpec, Manifest, OutputSpec, SsdAnchors
from edgeapp.types import Box, Detection
from edgeapp.vision import boxes
from edgeapp.vision.boxes import Placement
from edgeapp.vision.decode import build_decoder
from edgeapp.vision.tensor import TensorSpec, dequantize

WHOLE = Placement()
SSDLITE_300 = SsdAnchors(layers=(19, 10, 5, 3, 2, 1))
ONE_LAYER = SsdAnchors(layers=(2,), min_scale=0.5, max_scale=0.5, aspect_ratios=(1.0,), reduce_lowest=False)


def make_manifest(output: OutputSpec, classes: tuple[str, ...] = ("person",), **defaults: Any) -> Manifest:
    return Manifest(
        name="test",
        version=1,
        model=FileSpec(file="model.tflite", sha256="0" * 64, size_bytes=1),
        task="classification" if output.decoder == "classifier" else "detection",
        classes=classes,
        input=InputSpec(width=200, height=100),
        output=output,
        defaults=Defaults(**defaults),
    )


def specs_of(outputs: dict[str, npt.NDArray[Any]], scale: float = 0.0, zero_point: int = 0) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(name, values.shape, values.dtype.name, scale, zero_point) for name, values in outputs.items()
    }


def decode(
    manifest: Manifest,
    outputs: dict[str, npt.NDArray[Any]],
    specs: dict[str, TensorSpec] | None = None,
    placement: Placement = WHOLE,
) -> tuple[Detection, ...]:
    return build_decoder(manifest, specs or specs_of(outputs)).decode(outputs, placement)


def ssd_output(**changes: Any) -> OutputSpec:
    base: dict[str, Any] = {
        "decoder": "ssd_raw",
        "tensors": {"boxes": "boxes", "scores": "scores"},
        "background": "first",
        "anchors": ONE_LAYER,
    }
    return OutputSpec(**(base | changes))


def yolo_output(**changes: Any) -> OutputSpec:
    return OutputSpec(decoder="yolo", tensors={"predictions": "predictions"}, **changes)


def classifier_output(**changes: Any) -> OutputSpec:
    return OutputSpec(decoder="classifier", tensors={"scores": "scores"}, **changes)


def empty_ssd(dtype: str = "float32", columns: int = 2, low: float = 0) -> dict[str, npt.NDArray[Any]]:
    """ONE_LAYER's eight anchors, all codes 0 and all scores low."""
    return {"boxes": np.zeros((1, 8, 4), dtype), "scores": np.full((1, 8, columns), low, dtype)}


class TestAnchors:
    def test_ssdlite_300_has_1917_anchors(self) -> None:
        assert boxes.anchor_count(SSDLITE_300) == 1917
        assert boxes.make_anchors(SSDLITE_300).shape == (1917, 4)

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (0, (0.5 / 19, 0.5 / 19, 0.1, 0.1)),
            (1, (0.5 / 19, 0.5 / 19, 0.2 / math.sqrt(2), 0.2 * math.sqrt(2))),
            (2, (0.5 / 19, 0.5 / 19, 0.2 * math.sqrt(2), 0.2 / math.sqrt(2))),
            (3, (0.5 / 19, 1.5 / 19, 0.1, 0.1)),
            (19 * 3, (1.5 / 19, 0.5 / 19, 0.1, 0.1)),
            (1083, (0.05, 0.05, 0.35, 0.35)),  # 19 * 19 * 3: the second layer begins
            (1086, (0.05, 0.05, 0.35 / math.sqrt(3), 0.35 * math.sqrt(3))),
            (1088, (0.05, 0.05, math.sqrt(0.35 * 0.5), math.sqrt(0.35 * 0.5))),
            (1911, (0.5, 0.5, 0.95, 0.95)),
            (1916, (0.5, 0.5, math.sqrt(0.95), math.sqrt(0.95))),
        ],
    )
    def test_anchor_is_the_one_worked_out_by_hand(self, row: int, expected: tuple[float, ...]) -> None:
        assert boxes.make_anchors(SSDLITE_300)[row] == pytest.approx(expected, abs=1e-6)

    def test_lowest_layer_is_full_where_it_is_not_reduced(self) -> None:
        assert boxes.anchor_count(dataclasses.replace(SSDLITE_300, reduce_lowest=False)) == 1917 + 19 * 19 * 3


class TestSsdRaw:
    def test_codes_move_and_scale_the_anchor(self) -> None:
        outputs = empty_ssd()
        outputs["scores"][0, 6, 1] = 0.9  # cell in the second row and column: centre 0.75, side 0.5
        outputs["boxes"][0, 6] = (-2.0, 1.0, 5 * math.log(0.5), 5 * math.log(0.25))
        (found,) = decode(make_manifest(ssd_output()), outputs)
        centre_y, centre_x, height, width = 0.75 - 0.1, 0.75 + 0.05, 0.25, 0.125
        assert dataclasses.astuple(found.box) == pytest.approx(
            (centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2), abs=1e-6
        )
        assert found.score == pytest.approx(0.9)
        assert found.class_index == 0

    @pytest.mark.parametrize(
        ("background", "columns"), [("first", slice(1, 3)), ("last", slice(0, 2)), ("none", slice(0, 2))]
    )
    def test_background_column_is_no_class(self, background: Any, columns: slice) -> None:
        outputs = empty_ssd(columns=2 if background == "none" else 3)
        if background != "none":
            outputs["scores"][0, :, 0 if background == "first" else -1] = 1.0
        outputs["scores"][0, 0, columns] = (0.2, 0.8)
        (found,) = decode(make_manifest(ssd_output(background=background), classes=("cat", "dog")), outputs)
        assert found.class_index == 1
        assert found.score == pytest.approx(0.8)

    def test_sigmoid_and_softmax_turn_logits_into_scores(self) -> None:
        outputs = empty_ssd(low=-9)
        outputs["scores"][0, :, 0] = 5  # background
        outputs["scores"][0, 0] = (1, 3)
        (by_sigmoid,) = decode(make_manifest(ssd_output(activation="sigmoid")), outputs)
        (by_softmax,) = decode(make_manifest(ssd_output(activation="softmax")), outputs)
        assert by_sigmoid.score == pytest.approx(1 / (1 + math.exp(-3)))
        assert by_softmax.score == pytest.approx(1 / (1 + math.exp(-2)))

    @pytest.mark.parametrize(("activation", "logit"), [("none", 0.5), ("sigmoid", 0.0), ("softmax", 0.0)])
    def test_score_equal_to_the_minimum_is_enough(self, activation: Any, logit: float) -> None:
        outputs = empty_ssd(low=-9)
        outputs["scores"][0, :, 0] = 0.0  # background
        outputs["scores"][0, 0, 1] = logit
        (found,) = decode(make_manifest(ssd_output(activation=activation), min_score=0.5), outputs)
        assert found.score == pytest.approx(0.5)

    def test_box_reaching_beyond_the_picture_is_clipped(self) -> None:
        outputs = empty_ssd()
        outputs["scores"][0, 0, 1] = 0.9  # centre 0.25, side 0.5
        outputs["boxes"][0, 0, 2:] = 5 * math.log(4)
        (found,) = decode(make_manifest(ssd_output()), outputs)
        assert found.box == Box(0.0, 0.0, 1.0, 1.0)

    def test_absurd_codes_give_a_finite_box(self) -> None:
        outputs = empty_ssd()
        outputs["scores"][0, 0, 1] = 0.9
        outputs["boxes"][0, 0] = (0, 0, 1e30, 1e30)
        with np.errstate(all="raise"):
            (found,) = decode(make_manifest(ssd_output()), outputs)
        assert found.box == Box(0.0, 0.0, 1.0, 1.0)

    @pytest.mark.parametrize("role", ["boxes", "scores"])
    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_output_that_is_not_finite_is_a_failure(self, role: str, value: float) -> None:
        outputs = empty_ssd()
        outputs[role][0, 5, 1] = value
        with pytest.raises(ModelError, match=f"'{role}' is not finite"):
            decode(make_manifest(ssd_output()), outputs)

    def test_scores_above_one_point_to_the_missing_activation(self) -> None:
        outputs = empty_ssd()
        outputs["scores"][0, 0, 1] = 7.5
        with pytest.raises(ModelError, match=r"found 7\.5.*activation"):
            decode(make_manifest(ssd_output()), outputs)


@given(
    dtype=st.sampled_from(["int8", "uint8"]),
    scale=st.floats(1 / 400, 0.3),
    zero_point=st.integers(-128, 255),
    activation=st.sampled_from(["none", "sigmoid", "softmax"]),
    background=st.sampled_from(["first", "last", "none"]),
    min_score=st.floats(0.02, 0.98),
    seed=st.integers(0, 2**32 - 1),
)
def test_quantized_scores_give_what_their_real_values_give(
    dtype: str, scale: float, zero_point: int, activation: Any, background: Any, min_score: float, seed: int
) -> None:
    limits = np.iinfo(dtype)
    zero_point = max(min(zero_point, int(limits.max)), int(limits.min))
    columns = 2 if background == "none" else 3
    raw = np.random.default_rng(seed).integers(limits.min, limits.max + 1, (1, 8, columns)).astype(dtype)
    spec = TensorSpec("scores", raw.shape, dtype, scale, zero_point)
    real = dequantize(raw, spec)
    if activation == "none":  # stay within what scores may be
        real = np.minimum(real, 1.0)
        raw = np.minimum(raw, min(math.floor(1 / scale) + zero_point, int(limits.max))).astype(dtype)
        real = dequantize(raw, spec)
    manifest = make_manifest(
        ssd_output(activation=activation, background=background), classes=("a", "b"), min_score=min_score, nms_iou=0.95
    )
    codes = np.zeros((1, 8, 4), np.float32)
    specs = {"boxes": TensorSpec("boxes", codes.shape, "float32"), "scores": spec}
    found = decode(manifest, {"boxes": codes, "scores": raw}, specs)

    probabilities = reference_activation(real[0], activation)
    probabilities = {"first": probabilities[:, 1:], "last": probabilities[:, :-1], "none": probabilities}[background]
    best = probabilities.max(axis=1)
    expected = np.sort(best[best >= min_score])[::-1]
    # A score within rounding of the limit may fall on either side of it.
    assert abs(len(found) - len(expected)) <= int((np.abs(best - min_score) < 1e-9).sum())
    assert [one.score for one in found] == pytest.approx(expected[: len(found)].tolist(), abs=1e-9)


def reference_activation(real: npt.NDArray[np.float64], activation: str) -> npt.NDArray[np.float64]:
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-real)))
    if activation == "softmax":
        return np.asarray(np.exp(real) / np.exp(real).sum(axis=1, keepdims=True))
    return real


def test_no_quantized_number_reaching_the_minimum_means_no_detection() -> None:
    outputs = empty_ssd("int8", low=127)
    specs = specs_of(outputs, scale=0.003, zero_point=0)  # 0.381 at most
    assert decode(make_manifest(ssd_output()), outputs, specs) == ()


def iou(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    if height <= 0 or width <= 0:
        return 0.0
    overlap = height * width
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(overlap / (sum(areas) - overlap))


def suppress_slowly(
    rows: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], classes: npt.NDArray[Any], max_iou: float
) -> list[int]:
    kept: list[int] = []
    for row in sorted(range(len(rows)), key=lambda row: -scores[row]):
        if all(classes[row] != classes[other] or iou(rows[row], rows[other]) <= max_iou for other in kept):
            kept.append(row)
    return kept


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60), max_iou=st.sampled_from([0.05, 0.3, 0.5, 0.95]))
def test_suppression_equals_the_textbook_loop(seed: int, count: int, max_iou: float) -> None:
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.6, (count, 2))
    rows = boxes.corners(centres, sizes)
    scores = rng.choice([0.5, 0.6, 0.7, 0.8], count)  # ties are frequent with quantized scores
    classes = rng.integers(0, 3, count)
    kept = boxes.suppress(rows, scores, classes, max_iou=max_iou, limit=1000)
    assert kept.tolist() == suppress_slowly(rows, scores, classes, max_iou)


def test_suppression_keeps_at_most_the_limit_and_the_best() -> None:
    rows = boxes.corners(np.linspace(0, 1, 20)[:, None].repeat(2, 1), np.full((20, 2), 0.01))
    scores = np.linspace(0.1, 0.9, 20)
    assert boxes.suppress(rows, scores, np.zeros(20, np.intp), max_iou=0.5, limit=3).tolist() == [19, 18, 17]


def test_letterbox_is_undone() -> None:
    outputs = empty_ssd()
    outputs["scores"][0, 0, 1] = 0.9  # y and x from 0 to 0.5 of the input
    placement = Placement(offset_x=0.0, offset_y=0.25, scale_x=1.0, scale_y=0.5)
    (found,) = decode(make_manifest(ssd_output()), outputs, placement=placement)
    assert dataclasses.astuple(found.box) == pytest.approx((0.0, 0.0, 0.5, 0.5))


def test_what_lies_in_the_bars_alone_is_no_detection() -> None:
    outputs = empty_ssd()
    outputs["scores"][0, 0, 1] = 0.9
    placement = Placement(offset_y=0.5, scale_y=0.5)
    assert decode(make_manifest(ssd_output()), outputs, placement=placement) == ()


@given(
    corners=st.tuples(*[st.floats(-3, 3)] * 4),
    offset=st.floats(0, 0.4),
)
def test_every_box_lies_in_the_picture(corners: tuple[float, float, float, float], offset: float) -> None:
    placement = Placement(offset_x=offset, scale_x=1 - 2 * offset)
    found = boxes.to_detections(np.array([corners]), np.array([0.5]), np.array([0]), placement)
    for one in found:
        assert 0 <= one.box.x_min < one.box.x_max <= 1
        assert 0 <= one.box.y_min < one.box.y_max <= 1


class TestPostprocess:
    OUTPUT = OutputSpec(
        decoder="ssd_postprocess",
        tensors={"boxes": "boxes", "classes": "classes", "scores": "scores", "count": "count"},
    )

    def outputs(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "boxes": np.array([[[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8], [math.nan] * 4]], np.float32),
            "classes": np.array([[1, 0, 77]], np.float32),
            "scores": np.array([[0.6, 0.9, 0.99]], np.float32),
            "count": np.array([2], np.float32),
        }

    def test_rows_within_the_count_are_detections_best_first(self) -> None:
        first, second = decode(make_manifest(self.OUTPUT, classes=("a", "b")), self.outputs())
        assert (first.class_index, second.class_index) == (0, 1)
        assert dataclasses.astuple(second.box) == pytest.approx((0.2, 0.1, 0.4, 0.3))

    def test_scores_below_the_minimum_are_left_out(self) -> None:
        (only,) = decode(make_manifest(self.OUTPUT, classes=("a", "b"), min_score=0.8), self.outputs())
        assert only.class_index == 0

    def test_at_most_the_wanted_number_is_given(self) -> None:
        (only,) = decode(make_manifest(self.OUTPUT, classes=("a", "b"), max_detections=1), self.outputs())
        assert only.score == pytest.approx(0.9)

    def test_class_that_the_manifest_does_not_name_is_a_failure(self) -> None:
        with pytest.raises(ModelError, match="expected classes 0 to 0, found 0 to 1"):
            decode(make_manifest(self.OUTPUT), self.outputs())

    @pytest.mark.parametrize("count", [-1, 4, math.nan])
    def test_impossible_count_is_a_failure(self, count: float) -> None:
        outputs = self.outputs() | {"count": np.array([count], np.float32)}
        with pytest.raises(ModelError, match="count"):
            decode(make_manifest(self.OUTPUT, classes=("a", "b")), outputs)

    def test_used_row_that_is_not_finite_is_a_failure(self) -> None:
        outputs = self.outputs() | {"count": np.array([3], np.float32)}
        with pytest.raises(ModelError, match="'boxes' is not finite"):
            decode(make_manifest(self.OUTPUT, classes=("a", "b")), outputs)


class TestClassifier:
    def test_best_class_covers_the_whole_picture(self) -> None:
        outputs = {"scores": np.array([[0.1, 0.3, 0.6]], np.float32)}
        manifest = make_manifest(classifier_output(background="first"), classes=("cat", "dog"))
        (found,) = decode(manifest, outputs, placement=Placement(offset_y=0.25, scale_y=0.5))
        assert (found.box, found.class_index) == (Box(0.0, 0.0, 1.0, 1.0), 1)
        assert found.score == pytest.approx(0.6)

    def test_nothing_above_the_minimum_is_no_detection(self) -> None:
        outputs = {"scores": np.array([[0.6, 0.4]], np.float32)}
        assert decode(make_manifest(classifier_output(background="first")), outputs) == ()

    def test_logits_become_scores_by_softmax(self) -> None:
        outputs = {"scores": np.array([[-50, 50, 30]], np.int8)}
        manifest = make_manifest(classifier_output(activation="softmax"), classes=("a", "b", "c"))
        (found,) = decode(manifest, outputs, specs_of(outputs, scale=0.1))
        assert found.class_index == 1
        assert found.score == pytest.approx(math.exp(5) / (math.exp(-5) + math.exp(5) + math.exp(3)))


class TestYolo:
    """Cell 1 of 40 holds class 1 with score 0.8; its box is 0.4 to 0.6 across and 0.25 to 0.75 down."""

    SHARES = (0.5, 0.5, 0.2, 0.5)
    CLASSES = ("a", "b")

    def table(self, coordinates: tuple[float, ...], *score_columns: float) -> npt.NDArray[np.float32]:
        rows = np.zeros((40, 4 + len(score_columns)), np.float32)
        rows[:, :4] = coordinates
        rows[1, 4:] = score_columns
        return rows

    def check(self, predictions: npt.NDArray[Any], score: float = 0.8) -> None:
        (found,) = decode(make_manifest(yolo_output(), classes=self.CLASSES), {"predictions": predictions[None]})
        assert dataclasses.astuple(found.box) == pytest.approx((0.4, 0.25, 0.6, 0.75), abs=1e-6)
        assert found.class_index == 1
        assert found.score == pytest.approx(score)

    def test_cells_as_rows(self) -> None:
        self.check(self.table(self.SHARES, 0.1, 0.8))

    def test_cells_as_columns(self) -> None:
        self.check(self.table(self.SHARES, 0.1, 0.8).T)

    def test_pixels_of_the_input(self) -> None:
        self.check(self.table((100, 50, 40, 50), 0.1, 0.8).T)  # the input is 200 by 100

    def test_objectness_multiplies_the_class_score(self) -> None:
        self.check(self.table(self.SHARES, 0.9, 0.1, 0.8), score=0.72)

    def test_product_below_the_minimum_is_no_detection(self) -> None:
        predictions = self.table(self.SHARES, 0.6, 0.1, 0.8)[None]
        assert decode(make_manifest(yolo_output(), classes=self.CLASSES), {"predictions": predictions}) == ()

    def test_quantized_output_is_read_by_its_scale(self) -> None:
        raw = np.round(self.table(self.SHARES, 0.1, 0.8) * 250).astype(np.uint8)[None]
        specs = specs_of({"predictions": raw}, scale=1 / 250)
        (found,) = decode(make_manifest(yolo_output(), classes=self.CLASSES), {"predictions": raw}, specs)
        assert found.score == pytest.approx(0.8)
        assert found.box.width == pytest.approx(0.2)

    def test_doubles_are_suppressed(self) -> None:
        rows = self.table(self.SHARES, 0.1, 0.8)
        rows[2] = rows[1]
        assert len(decode(make_manifest(yolo_output(), classes=self.CLASSES), {"predictions": rows[None]})) == 1

    @pytest.mark.parametrize("shape", [(1, 8, 40), (1, 6, 7), (6, 40), (2, 6, 40)])
    def test_shape_that_does_not_fit_is_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ModelError, match="for 2 classes, found"):
            decode(make_manifest(yolo_output(), classes=self.CLASSES), {"predictions": np.zeros(shape, np.float32)})


class TestContract:
    def test_missing_tensor_names_those_that_exist(self) -> None:
        with pytest.raises(ModelError, match=r"expected an output tensor 'scores' \(scores\), found 'boxes', 'other'"):
            build_decoder(
                make_manifest(ssd_output()),
                specs_of(
                    {"boxes": np.zeros((1, 8, 4)), "other": np.zeros((1, 8, 2))} | {"boxes": empty_ssd()["boxes"]}
                ),
            )

    def test_anchor_count_must_fit_the_boxes(self) -> None:
        manifest = make_manifest(ssd_output(anchors=SSDLITE_300))
        with pytest.raises(ModelError, match=r"expected shape \[1, 1917, 4\].*found \[1, 8, 4\]"):
            build_decoder(manifest, specs_of(empty_ssd()))

    def test_class_count_must_fit_the_scores(self) -> None:
        manifest = make_manifest(ssd_output(), classes=("a", "b"))
        with pytest.raises(ModelError, match=r"expected shape \[1, 8, 3\].*found \[1, 8, 2\]"):
            build_decoder(manifest, specs_of(empty_ssd()))

    def test_unknown_type_of_an_output_is_refused(self) -> None:
        with pytest.raises(ModelError, match="found int32"):
            build_decoder(make_manifest(ssd_output()), specs_of(empty_ssd("int32")))

    def test_quantized_output_without_a_scale_is_refused(self) -> None:
        with pytest.raises(ModelError, match="expected a quantization scale above 0"):
            build_decoder(make_manifest(ssd_output()), specs_of(empty_ssd("int8")))

    @pytest.mark.parametrize(
        ("manifest", "match"),
        [
            (make_manifest(ssd_output(anchors=None)), "output.anchors"),
            (make_manifest(ssd_output(tensors={"boxes": "boxes"})), "expected boxes, scores .* found boxes"),
            (
                make_manifest(ssd_output(tensors={"boxes": "boxes", "scores": "scores", "count": "x"})),
                "found boxes, count, scores",
            ),
            (dataclasses.replace(make_manifest(ssd_output()), task="classification"), "task 'classification'"),
            (make_manifest(ssd_output(box_scales=(10.0, 10.0, 0.0, 5.0))), "box_scales"),
        ],
    )
    def test_manifest_that_contradicts_itself_is_refused(self, manifest: Manifest, match: str) -> None:
        with pytest.raises(ManifestError, match=match):
            build_decoder(manifest, specs_of(empty_ssd()))

    def test_background_of_yolo_is_refused(self) -> None:
        with pytest.raises(ManifestError, match=r"output\.background"):
            build_decoder(
                make_manifest(yolo_output(background="first")),
                specs_of({"predictions": np.zeros((1, 6, 40), np.float32)}),
            )

    def test_minimum_score_given_replaces_the_manifests(self) -> None:
        outputs = empty_ssd()
        outputs["scores"][0, 0, 1] = 0.6
        manifest = make_manifest(ssd_output())
        assert len(build_decoder(manifest, specs_of(outputs)).decode(outputs, WHOLE)) == 1
        assert build_decoder(manifest, specs_of(outputs), 0.7).decode(outputs, WHOLE) == ()
