"""What a model folder must show before it becomes a release, and what the release then says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest

from edgeapp import __version__
from edgeapp.errors import EdgeAppError, ManifestError, ReleaseError
from edgeapp.updates.release import Budget, check_tensors, read_release
from edgeapp.vision.model import Model
from edgeapp.workshop.release_writer import ReleaseFacts, create, read_facts
from tests.fakes.tiny_models import make_model_folder
from tests.fakes.workshop_lab import ACCURACY, request

SCHEMA = Path(__file__).parents[2] / "data" / "cyclonedx-1.6-part.schema.json"


def test_a_release_says_what_the_runtime_finds_and_its_files_are_named_by_their_hashes(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    release, agreed = create(dataclasses.replace(wanted, version=9), tmp_path / "out")
    path = tmp_path / "out" / "releases" / "bright-spot" / "9.json"
    assert read_release(path.read_bytes(), "releases/bright-spot/9.json") == release
    assert (agreed.f1, agreed.frames, agreed.references) == (1.0, 4, 3)
    files = {file.file: tmp_path / "out" / "blobs" / file.sha256 for file in (release.model.model, *release.files)}
    assert files["model.tflite"].read_bytes() == (wanted.model_dir / "model.tflite").read_bytes()
    assert {name: (fact.dtype, fact.shape) for name, fact in release.tensors.items()} == {
        "image": ("int8", (1, 32, 32, 3)),
        "boxes": ("int8", (1, 512, 4)),
        "scores": ("int8", (1, 512, 2)),
    }
    assert check_tensors(release, release.tensors) is None
    assert (release.compat.app.min, list(release.compat.runtimes)) == (__version__, ["ai-edge-litert"])


def test_golden_cases_hold_pictures_with_and_without_something(tmp_path: Path) -> None:
    release, _ = create(request(tmp_path), tmp_path / "out")
    assert release.model.golden is not None
    cases = np.load(tmp_path / "out" / "blobs" / release.model.golden.cases.sha256)
    model = Model.load(tmp_path / "int8")
    scores = [
        {"boxes": boxes, "scores": found}
        for boxes, found in zip(cases["output.boxes"], cases["output.scores"], strict=True)
    ]
    assert sorted(len(model.decode(outputs)) for outputs in scores) == [0, 1, 1, 1]
    model.close()


def test_the_model_card_keeps_the_published_schema(tmp_path: Path) -> None:
    release, _ = create(request(tmp_path), tmp_path / "out")
    (card_file,) = release.files
    card = json.loads((tmp_path / "out" / "blobs" / card_file.sha256).read_bytes())
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_bytes()))
    assert [error.message for error in validator.iter_errors(card)] == []
    assert [error.validator for error in validator.iter_errors({**card, "specVersion": 1.6})] == ["type"]
    component = card["metadata"]["component"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": release.model.model.sha256}]
    metrics = component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert [metric["value"] for metric in metrics] == ["0.61", "0.6", "0.55", "1.0000"]


def test_accuracy_below_its_floor_is_no_release(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    poor = ReleaseFacts(accuracy=dataclasses.replace(ACCURACY, quantized=0.5))
    for facts, reason in ((poor, "expected mAP of at least 0.55 on street, found 0.5"), (ReleaseFacts(), "found none")):
        with pytest.raises(ReleaseError, match=reason):
            create(dataclasses.replace(wanted, facts=facts), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_float_twin_of_another_task_is_refused(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    other = make_model_folder(tmp_path / "other", dtype="float32", classes=("car",))
    with pytest.raises(ReleaseError, match=r"expected the classes of the model, \('person',\), found \('car',\)"):
        create(dataclasses.replace(wanted, float_dir=other), tmp_path / "out")


def test_a_model_that_sees_otherwise_than_its_float_twin_is_refused(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    blind = make_model_folder(
        tmp_path / "blind",
        min_score=0.99,
        changes={"input": {"width": 32, "height": 32, "mean": [120.0], "std": [255.0]}},
    )
    with pytest.raises(EdgeAppError, match=r"F1 of 0\.8 against the float model, found F1 0\.000"):
        create(dataclasses.replace(wanted, model_dir=blind), tmp_path / "out")


def test_pictures_that_show_nothing_make_no_golden_cases(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    dark = tmp_path / "dark"
    dark.mkdir()
    with pytest.raises(ReleaseError, match="expected pictures to make golden cases of, found none"):
        create(dataclasses.replace(wanted, pictures_dir=dark), tmp_path / "out")
    cv2.imwrite(str(dark / "night.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ReleaseError, match="in none of the pictures do both models find the same"):
        create(dataclasses.replace(wanted, pictures_dir=dark), tmp_path / "out")
    (dark / "day.png").write_bytes(b"no picture")
    with pytest.raises(ReleaseError, match=r"day\.png: expected a picture"):
        create(dataclasses.replace(wanted, pictures_dir=dark), tmp_path / "out")


def test_tensors_that_are_not_the_manifests_and_damaged_files_are_refused(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    roles = {"decoder": "ssd_raw", "tensors": {"boxes": "boxes", "scores": "no such tensor"}}
    wrong = make_model_folder(tmp_path / "wrong", changes={"output": roles})
    with pytest.raises(ReleaseError, match=r"expected to pass the device's self-test, found E_LOAD.*no such tensor"):
        create(dataclasses.replace(wanted, model_dir=wrong), tmp_path / "out")
    (wanted.model_dir / "model.tflite").write_bytes(b"torn")
    with pytest.raises(ManifestError):
        create(wanted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ReleaseError, match="expected nothing there"):
        create(request(tmp_path), tmp_path / "out")


def test_facts_come_from_several_files_but_each_from_one(tmp_path: Path) -> None:
    budget = {"p50_ms": 20, "p95_ms": 30, "steady_p95_ms": 40, "rss_mb": 150}
    parts = {
        "accuracy.json": {"accuracy": dataclasses.asdict(ACCURACY), "calibration_sha256": "a" * 64},
        "fleet.json": {"budgets": {"Raspberry Pi 4": budget}, "escalate_below": {"bright": 0.4}},
        "again.json": {"escalate_below": {"bright": 0.5}},
        "wrong.json": {"budget": {}},
    }
    for name, part in parts.items():
        (tmp_path / name).write_text(json.dumps(part))
    facts = read_facts([tmp_path / "accuracy.json", tmp_path / "fleet.json"])
    assert (facts.accuracy, facts.escalate_below) == (ACCURACY, {"bright": 0.4})
    assert facts.budgets == {"Raspberry Pi 4": Budget(p50_ms=20, p95_ms=30, steady_p95_ms=40, rss_mb=150)}
    with pytest.raises(ReleaseError, match=r"again\.json: escalate_below: expected in one file"):
        read_facts([tmp_path / "fleet.json", tmp_path / "again.json"])
    with pytest.raises(ManifestError, match="budgets"):
        read_facts([tmp_path / "wrong.json"])


def test_facts_and_the_float_twins_hash_stand_in_the_manifest(tmp_path: Path) -> None:
    wanted = request(tmp_path)
    facts = dataclasses.replace(wanted.facts, calibration_sha256="c" * 64, escalate_below={"person": 0.4})
    release, _ = create(dataclasses.replace(wanted, facts=facts), tmp_path / "out")
    twin = json.loads((wanted.float_dir / "model.json").read_text())["model"]["sha256"]
    assert release.quantization is not None
    assert (release.quantization.calibration_sha256, release.quantization.float_sha256) == ("c" * 64, twin)
    assert release.model.escalate_below == {"person": 0.4}
