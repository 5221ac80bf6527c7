"""`edgeapp-workshop describe`: from a .tflite file to a folder that the device's loader takes, or what is wanted."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeapp.errors import ConvertError
from edgeapp.manifest import Defaults, InputSpec, Manifest, OutputSpec, SsdAnchors
from edgeapp.vision.model import Model
from edgeapp.vision.model_folder import read_manifest
from edgeapp.workshop import cli
from edgeapp.workshop.describing import Told, guess_output
from edgeapp.workshop.tflite_file import ModelBuilder
from tests.fakes.tiny_models import bright_spot, make_model_folder

_ROOT = Path(__file__).parents[3]
_PLAIN = ("--name", "spot", "--classes", "person", "--mean", "0", "--std", "255")


def _describe(*words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = cli.main(["describe", *words, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, told


@pytest.mark.parametrize("decoder", ["classifier", "yolo"])
def test_a_described_model_sees_what_the_one_that_was_described_by_hand_sees(
    decoder: Literal["classifier", "yolo"], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_model_folder(tmp_path / "by-hand", decoder=decoder, dtype="float32")
    picture = bright_spot(320, 240, centre=(0.5, 0.5), side=1.0 if decoder == "classifier" else 0.25)
    cv2.imwrite(str(tmp_path / "spot.png"), picture)
    before = read_manifest(source).input
    scale = ["--mean", f"{before.mean[0]}", "--std", f"{before.std[0]}"]
    words = [str(source / "model.tflite"), *_PLAIN, *scale, "--out", str(tmp_path / "new")]
    status, told = _describe(*words, "--picture", str(tmp_path / "spot.png"), capsys=capsys)
    assert status == 0
    assert (told["manifest"]["output"]["decoder"], told["manifest"]["version"]) == (decoder, 1)
    seen = []
    for folder in (source, tmp_path / "new"):
        model = Model.load(folder, delegate="none")
        seen.append(model.predict(picture)[0])
        model.close()
    assert seen[0][0] == seen[1][0]  # the other's own suppression of doubles is no matter of tensors
    assert [one["class"] for one in told["seen"]] == ["person"] * len(seen[1])


@pytest.mark.parametrize("decoder", ["ssd_raw", "ssd_postprocess"])
def test_a_retrained_model_is_described_like_the_one_before(
    decoder: Literal["ssd_raw", "ssd_postprocess"], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dtype: Literal["int8", "float32"] = "int8" if decoder == "ssd_raw" else "float32"
    source = make_model_folder(tmp_path / "old", decoder=decoder, dtype=dtype, version=4, min_score=0.3)
    file = str(source / "model.tflite")
    status, _ = _describe(file, "--like", str(source), "--out", str(tmp_path / "new"), capsys=capsys)
    assert status == 0
    old, new = read_manifest(source), read_manifest(tmp_path / "new")
    assert new == dataclasses.replace(old, version=5, quantization=dtype)


@pytest.mark.parametrize(
    ("decoder", "words", "wanted"),
    [
        ("yolo", ("--name", "spot", "--classes", "person"), "--mean, --std"),
        ("yolo", ("--name", "spot", "--mean", "0", "--std", "255"), "--classes"),
        ("yolo", ("--classes", "person", "--mean", "0", "--std", "255"), "--name"),
        ("yolo", (*_PLAIN, "--name", "A B"), "1 to 63 of a-z"),
        ("yolo", (*_PLAIN, "--classes", "a,b,c,d,e,f,g,h,i"), "expected outputs of a classifier"),
        ("yolo", (*_PLAIN, "--tensor", "scores"), "expected ROLE=NAME"),
        ("yolo", (*_PLAIN, "--picture", "absent.png"), "--picture: expected a picture"),
        ("ssd_raw", _PLAIN, "expected --anchors"),
        ("ssd_raw", (*_PLAIN, "--anchors", "19,10"), "sizes that give the 512 anchors"),
        ("ssd_postprocess", _PLAIN, "--tensor classes=NAME --tensor scores=NAME"),
    ],
)
def test_what_no_tensor_tells_is_asked_for_and_nothing_is_left_behind(
    decoder: Any, words: tuple[str, ...], wanted: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_model_folder(tmp_path / "by-hand", decoder=decoder, dtype="float32")
    status, told = _describe(str(source / "model.tflite"), *words, "--out", str(tmp_path / "new"), capsys=capsys)
    assert status == 1
    assert wanted in told["text"]
    assert [path.name for path in tmp_path.iterdir()] == ["by-hand"]


def test_a_file_that_is_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.tflite").write_bytes(b"<!doctype html>")
    for name, said in (("page.tflite", "expected a model that"), ("absent.tflite", "No such file")):
        status, told = _describe(str(tmp_path / name), *_PLAIN, "--out", str(tmp_path / "new"), capsys=capsys)
        assert (status, said in told["text"]) == (1, True), told


def test_channels_that_come_first_are_told_with_what_puts_them_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = ModelBuilder()
    source, output = builder.activation("image", [1, 3, 8, 8]), builder.activation("scores", [1, 3, 8, 8])
    mean, axes = builder.activation("mean", [1, 1]), builder.constant("axes", np.array([2, 3, 1], np.int32))
    builder.operator("RELU", [source], output)
    builder.operator("MEAN", [output, axes], mean, ("ReducerOptions", schema.ReducerOptionsT()))
    (tmp_path / "one.tflite").write_bytes(builder.finish({"image": source}, {"mean": mean}, "first"))
    status, told = _describe(str(tmp_path / "one.tflite"), *_PLAIN, "--out", str(tmp_path / "new"), capsys=capsys)
    assert (status, "edgeapp-workshop convert puts them last" in told["text"]) == (1, True), told


@pytest.mark.parametrize(
    ("outputs", "classes", "decoder", "background"),
    [
        ({"a": (1, 3)}, 3, "classifier", "none"),
        ({"a": (1, 1, 1, 4)}, 3, "classifier", "first"),
        ({"a": (1, 84, 8400)}, 80, "yolo", "none"),
        ({"a": (1, 25200, 85)}, 80, "yolo", "none"),
        ({"b": (1, 1917, 2), "a": (1, 1917, 4)}, 1, "ssd_raw", "first"),
        ({"b": (1, 1917, 5), "a": (1, 1917, 4)}, 4, "", "--tensor boxes=NAME"),
        ({"a": (1, 7)}, 3, "", "for 3 classes: a"),
    ],
)
def test_shapes_tell_the_decoder(
    outputs: dict[str, tuple[int, ...]], classes: int, decoder: str, background: str
) -> None:
    told = Told(classes=classes, tensors={}, anchors=(19, 10, 5, 3, 2, 1))
    if not decoder:
        with pytest.raises(ConvertError, match=background):
            guess_output(outputs, told)
        return
    found = guess_output(outputs, told)
    assert (found.decoder, found.background) == (decoder, background)
    if decoder == "ssd_raw":
        assert found.tensors == {"boxes": "a", "scores": "b"}


def test_the_document_names_every_key_of_model_json_and_no_other() -> None:
    text = (_ROOT / "docs" / "models.md").read_text()
    told = set(re.findall(r"`([a-z_.]+)`", text.partition("## model.json")[2]))
    parts = {"input": InputSpec, "output": OutputSpec, "defaults": Defaults}
    keys = {field.name for field in dataclasses.fields(Manifest)} - set(parts)
    keys |= {f"{name}.{field.name}" for name, part in parts.items() for field in dataclasses.fields(part)}
    assert keys <= told
    values = {field.name for field in dataclasses.fields(SsdAnchors)}
    assert {each for each in told if "." in each} <= keys
    assert values <= told
