"""Tensors of any names go to a model and come back, and what is no model or no tensors is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeapp import cli
from edgeapp.errors import ModelError
from edgeapp.measure.tensors import read_arrays, write_arrays
from edgeapp.vision.model import Model
from tests.fakes.tiny_models import make_model_folder


def test_arrays_come_back_with_names_that_no_file_could_have(tmp_path: Path) -> None:
    arrays = {
        "a/b:0": np.arange(6, dtype=np.int8).reshape(1, 2, 3),
        "../c": np.array([[1.5]], np.float32),
        "": np.ones(1),
    }
    write_arrays(tmp_path / "x", arrays)
    found = read_arrays(tmp_path / "x")
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[name], arrays[name]) and found[name].dtype == arrays[name].dtype for name in arrays)


def test_a_model_gives_for_tensors_what_it_gives_for_their_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_model_folder(tmp_path / "model")
    model = Model.load(folder, delegate="none")
    pictures = [np.full((32, 32, 3), level, np.uint8) for level in (10, 200, 255)]
    inputs = [model.preprocess(picture) for picture in pictures]
    expected = [model.run(values)[0] for values in inputs]
    write_arrays(tmp_path / "in", {model.input.name: np.stack(inputs)})
    files = ["--inputs", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert cli.main(["run-tensors", str(folder / "model.tflite"), *files, "--delegate", "none"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["delegate"]["name"] == "none"
    found = read_arrays(tmp_path / "out")
    for role, spec in model.outputs.items():
        assert np.array_equal(found[spec.name], np.stack([one[role] for one in expected]))


def test_what_does_not_fit_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_model_folder(tmp_path / "model")
    model = [str(folder / "model.tflite"), "--out", str(tmp_path / "out"), "--inputs"]
    write_arrays(tmp_path / "other", {"other": np.zeros((1, 2))})
    (tmp_path / "torn").write_bytes((tmp_path / "other").read_bytes()[:50])
    for arguments, said in (
        ([*model, str(tmp_path / "other")], "found ['other']"),
        ([*model, str(tmp_path / "torn")], "expected tensors by name"),
        ([*model, str(tmp_path / "none")], "expected tensors by name"),
        ([*model, str(tmp_path / "other"), "--delegate", "gpu"], "--delegate"),
    ):
        assert cli.main(["run-tensors", *arguments]) == 1
        assert said in capsys.readouterr().err
    with pytest.raises(ModelError):
        read_arrays(tmp_path / "torn")
