"""What is written as model.json is what the device reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edgeapp.manifest import Defaults, InputSpec, Manifest, OutputSpec, SsdAnchors, manifest_json
from edgeapp.reader import read_json
from edgeapp.vision.model_folder import open_model_folder
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest


@pytest.fixture
def detector(tmp_path: Path) -> Manifest:
    (tmp_path / "model.tflite").write_bytes(b"model" * 100)
    return Manifest(
        name="people",
        version=3,
        model=describe_file(tmp_path / "model.tflite"),
        task="detection",
        classes=("person", "vélo"),
        input=InputSpec(width=300, height=200, mean=(1.5, 2.0, 0.1), std=(127.5,)),
        output=OutputSpec(
            decoder="ssd_raw",
            tensors={"boxes": "b", "scores": "s"},
            background="first",
            anchors=SsdAnchors(layers=(19, 10)),
        ),
        quantization="int8",
        defaults=Defaults(min_score=0.4),
    )


def test_device_reads_back_the_manifest_that_was_written(detector: Manifest, tmp_path: Path) -> None:
    write_manifest(tmp_path, detector)
    assert open_model_folder(tmp_path) == (detector, tmp_path / "model.tflite")


def test_manifest_without_anchors_is_read_back_too(detector: Manifest) -> None:
    output = OutputSpec(decoder="classifier", tensors={"scores": "s"})
    classifier = Manifest(
        name="kind",
        version=1,
        model=detector.model,
        task="classification",
        classes=("a",),
        input=InputSpec(width=96, height=96),
        output=output,
    )
    assert read_json(Manifest, manifest_json(classifier), "model.json") == classifier
    assert "null" not in manifest_json(classifier)


def test_keys_stand_in_the_order_of_the_fields_for_people_to_read(detector: Manifest) -> None:
    text = manifest_json(detector)
    keys = ['"name"', '"version"', '"model"', '"task"', '"classes"', '"input"', '"output"', '"quantization"']
    assert [text.index(key) for key in keys] == sorted(text.index(key) for key in keys)
    assert text.startswith('{\n  "name": "people",\n')
    assert "vélo" in text


def test_file_is_described_by_name_hash_and_size(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"abc")
    described = describe_file(tmp_path / "m.tflite")
    assert (described.file, described.size_bytes) == ("m.tflite", 3)
    assert described.sha256 == hashlib.sha256(b"abc").hexdigest()
