"""A whole model folder: verified, loaded, checked against its manifest, and finding what is in the picture."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeapp.errors import CaptureError, ManifestError, ModelError
from edgeapp.vision.model import Model
from edgeapp.vision.model_folder import open_model_folder
from tests.fakes.tiny_models import bright_spot, make_model_folder

DETECTORS = [
    (decoder, dtype)
    for decoder in ("ssd_raw", "yolo", "ssd_postprocess")
    for dtype in ("float32", "int8", "uint8")
    if decoder != "ssd_postprocess" or dtype == "float32"
]
CELL = 1 / 16


@pytest.fixture(scope="module")
def int8_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model.load(make_model_folder(tmp_path_factory.mktemp("int8")))


def middle(detection: Any) -> tuple[float, float]:
    box = detection.box
    return (box.x_min + box.x_max) / 2, (box.y_min + box.y_max) / 2


@pytest.mark.parametrize(("decoder", "dtype"), DETECTORS)
def test_bright_spot_is_found_where_it_is(tmp_path: Path, decoder: Any, dtype: Any) -> None:
    model = Model.load(make_model_folder(tmp_path, decoder=decoder, dtype=dtype))
    (found,), invoke_ms = model.predict(bright_spot(160, 120, centre=(0.3, 0.7)))
    assert middle(found) == pytest.approx((0.3, 0.7), abs=CELL)
    assert (found.box.width, found.box.height) == pytest.approx((0.25, 0.25), abs=0.01)
    assert found.score > 0.9
    assert found.class_index == 0
    assert invoke_ms > 0


@pytest.mark.parametrize(("decoder", "dtype"), [*DETECTORS, ("classifier", "float32"), ("classifier", "int8")])
def test_dark_picture_holds_nothing(tmp_path: Path, decoder: Any, dtype: Any) -> None:
    model = Model.load(make_model_folder(tmp_path, decoder=decoder, dtype=dtype))
    assert model.predict(np.full((120, 160, 3), 16, np.uint8))[0] == ()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(x=st.floats(0.15, 0.85), y=st.floats(0.15, 0.85))
def test_box_follows_the_spot(int8_model: Model, x: float, y: float) -> None:
    (found,), _ = int8_model.predict(bright_spot(160, 120, centre=(x, y)))
    assert middle(found) == pytest.approx((x, y), abs=CELL)


def test_int8_and_float32_agree(tmp_path: Path) -> None:
    picture = bright_spot(160, 120, centre=(0.4, 0.6))
    (exact,), (coarse,) = (
        Model.load(make_model_folder(tmp_path / dtype, dtype=dtype)).predict(picture)[0]
        for dtype in ("float32", "int8")
    )
    assert coarse.score == pytest.approx(exact.score, abs=0.01)
    assert middle(coarse) == pytest.approx(middle(exact), abs=1e-6)


def test_two_spots_are_two_detections(int8_model: Model) -> None:
    picture = np.maximum(bright_spot(160, 120, centre=(0.2, 0.2)), bright_spot(160, 120, centre=(0.8, 0.8)))
    assert len(int8_model.predict(picture)[0]) == 2


def test_letterboxed_box_is_told_in_shares_of_the_picture(tmp_path: Path) -> None:
    model = Model.load(make_model_folder(tmp_path, resize="letterbox", min_score=0.9))
    picture = np.full((120, 240, 3), 16, np.uint8)
    picture[30:90, 30:90] = 255  # a quarter of the input's side is 60 pixels of this picture
    (found,), _ = model.predict(picture)
    x, y = middle(found)
    assert x == pytest.approx(60 / 240, abs=CELL)
    assert y == pytest.approx(60 / 120, abs=2 * CELL)  # the picture has half of the input's height
    assert (found.box.width, found.box.height) == pytest.approx((0.25, 0.5), abs=0.01)


@pytest.mark.parametrize("decoder", ["ssd_raw", "classifier", "yolo"])
def test_colour_tells_the_class(tmp_path: Path, decoder: Any) -> None:
    model = Model.load(make_model_folder(tmp_path, decoder=decoder, classes=("red", "green", "blue")))
    for class_index, colour_bgr in enumerate([(0, 0, 255), (0, 255, 0), (255, 0, 0)]):
        side = 2.0 if decoder == "classifier" else 0.25
        (found,), _ = model.predict(bright_spot(160, 120, side=side, colour_bgr=colour_bgr))
        assert found.class_index == class_index


def test_outputs_that_are_not_finite_are_a_failure(tmp_path: Path) -> None:
    model = Model.load(make_model_folder(tmp_path, dtype="float32", nan_above=-1.0))
    with pytest.raises(ModelError, match="not finite"):
        model.warm_up()


def test_picture_of_another_shape_is_refused(int8_model: Model) -> None:
    with pytest.raises(CaptureError, match=r"\[height, width, 3\]"):
        int8_model.predict(np.zeros((120, 160), np.uint8))


def test_report_says_what_runs_on_what(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path, name="spot", version=7)
    model = Model.load(folder, threads=2)
    model.warm_up()
    report = model.report
    assert (report.name, report.version, report.classes) == ("spot", 7, ("person",))
    assert (report.quantization, report.threads, report.delegate.name) == ("int8", 2, "xnnpack")
    assert report.sha256 == json.loads((folder / "model.json").read_text())["model"]["sha256"]
    assert report.runtime.split()[0] in ("ai-edge-litert", "tflite-runtime")
    assert model.report.advice == ()


def test_legacy_quantization_is_advised_against(tmp_path: Path) -> None:
    assert "per tensor" in Model.load(make_model_folder(tmp_path, dtype="uint8")).report.advice[0].text


def test_configured_minimum_score_replaces_the_manifests(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path, dtype="float32")
    picture = bright_spot(160, 160, centre=(8.5 / 16, 8.5 / 16), colour_bgr=(180, 180, 180))
    assert len(Model.load(folder, min_score=0.3).predict(picture)[0]) == 1
    assert Model.load(folder, min_score=0.99).predict(picture)[0] == ()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"classes": ["a", "b"]}, r"'scores': expected shape \[1, 512, 3\].*found \[1, 512, 2\]"),
        ({"input": {"width": 64, "height": 32}}, r"expected shape \[1, 32, 64, 3\].*found \[1, 32, 32, 3\]"),
        ({"input": {"width": 32, "height": 32, "colour_order": "gray"}}, r"expected shape \[1, 32, 32, 1\]"),
    ],
)
def test_model_that_breaks_its_manifests_promise_is_refused(
    tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        Model.load(make_model_folder(tmp_path, changes=changes))


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = make_model_folder(tmp_path) / "model.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"expected sha256 [0-9a-f]{64} as model.json says, found [0-9a-f]{64}"):
        open_model_folder(tmp_path)


def test_torn_file_is_noticed(tmp_path: Path) -> None:
    path = make_model_folder(tmp_path) / "model.tflite"
    size_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=f"expected {size_bytes} bytes as model.json says, found {size_bytes - 1}"):
        open_model_folder(tmp_path)


def test_folder_is_opened_with_its_manifest_and_file(tmp_path: Path) -> None:
    manifest, path = open_model_folder(make_model_folder(tmp_path, version=3))
    assert manifest.version == 3
    assert path == tmp_path.resolve() / "model.tflite"


def test_expected_confidences_are_read(tmp_path: Path) -> None:
    counts = [0, 100, 300, 400, 200, 0]
    manifest, _ = open_model_folder(make_model_folder(tmp_path, changes={"expected_confidence": counts}))
    assert manifest.expected_confidence == tuple(counts)


@pytest.mark.parametrize(
    ("counts", "match"),
    [
        ([0, 0, 50, 49, 0, 0], "expected_confidence: expected at least 100 tracks in all, found 99"),
        ([100, 100], "expected_confidence: expected a list of 6 counts of tracks, found 2"),
        ([100, -1, 0, 0, 0, 0], r"expected_confidence\[1\]: expected 0 to 2147483648 tracks, found -1"),
        ([0.5, 0.5, 0, 0, 0, 0], r"expected_confidence\[0\]: expected a whole number"),
    ],
)
def test_expected_confidences_that_say_nothing_are_refused(tmp_path: Path, counts: list[float], match: str) -> None:
    with pytest.raises(ManifestError, match=match):
        open_model_folder(make_model_folder(tmp_path, changes={"expected_confidence": counts}))


@pytest.mark.parametrize("name", ["model.json", "model.tflite"])
def test_link_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = make_model_folder(tmp_path / "folder")
    outside = tmp_path / f"outside-{name}"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    with pytest.raises(ManifestError, match=f"{name}: expected a file inside the folder, found a link to .*outside"):
        open_model_folder(folder)


def test_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path)
    (folder / "model.tflite").rename(folder / "v1.tflite")
    (folder / "model.tflite").symlink_to("v1.tflite")
    assert open_model_folder(folder)[1].name == "v1.tflite"


@pytest.mark.parametrize("name", ["model.json", "model.tflite"])
def test_missing_file_is_told(tmp_path: Path, name: str) -> None:
    folder = make_model_folder(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ManifestError, match=f"{name}: expected a file, found: No such file"):
        open_model_folder(folder)


def test_pipe_in_place_of_the_model_does_not_hang(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path)
    (folder / "model.tflite").unlink()
    os.mkfifo(folder / "model.tflite")
    with pytest.raises(ManifestError, match="expected a plain file, found p"):
        open_model_folder(folder)


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="expected a model folder, found nothing"):
        open_model_folder(tmp_path / "nowhere")


def test_huge_manifest_is_refused(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path)
    (folder / "model.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(ManifestError, match="expected at most 1048576 bytes"):
        open_model_folder(folder)


def test_file_name_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    spec = {"file": "../model.tflite", "sha256": "0" * 64, "size_bytes": 1}
    with pytest.raises(ManifestError, match=r"model\.file"):
        open_model_folder(make_model_folder(tmp_path, changes={"model": spec}))
