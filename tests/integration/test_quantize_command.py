"""`edgeapp-workshop quantize` end to end, on small real models: what ships, what is refused, and what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeapp.vision.model_folder import open_model_folder
from edgeapp.workshop import cli, release_writer
from tests.fakes import quantize_lab
from tests.fakes.tiny_models import make_model_folder


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`day` and `dark` pictures, `labels.json` of either, a sound model, and one that int8 spoils."""
    folder = tmp_path_factory.mktemp("lab")
    quantize_lab.write_pictures(folder / "day")
    quantize_lab.write_pictures(folder / "dark", brightness=0.03)
    quantize_lab.write_labels(folder / "labels.json")
    make_model_folder(folder / "sound", dtype="float32", decoder="classifier", classes=quantize_lab.COLOURS)
    quantize_lab.make_colour_model(folder / "spoilt")
    return folder


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.main(["quantize", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_good_calibration_ships_with_all_that_a_release_needs(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out"
    status, told = _run(
        capsys,
        lab / "sound" / "model.tflite",
        "--calibrate",
        lab / "day",
        "--labels",
        lab / "labels.json",
        "--out",
        out,
    )
    assert (status, told["verdict"]["decision"]) == (0, "ship")
    manifest, path = open_model_folder(out / "model")
    assert (manifest.quantization, manifest.classes) == ("int8", quantize_lab.COLOURS)
    assert path.stat().st_size < (lab / "sound" / "model.tflite").stat().st_size
    facts = release_writer.read_facts([out / "facts.json"])
    assert facts.accuracy is not None
    assert (facts.accuracy.metric, facts.accuracy.quantized, facts.accuracy.data_set) == (
        "top-1",
        1.0,
        "day, 15 frames",
    )
    assert json.loads((out / "report.json").read_text()) == told
    assert "Ship int8" in (out / "report.html").read_text()
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]  # nothing of the work is left


def test_a_near_black_calibration_is_refused_though_accuracy_does_not_show_it(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, told = _run(
        capsys, lab / "sound", "--calibrate", lab / "dark", "--frames", lab / "day", "--out", tmp_path / "out"
    )
    assert (status, told["verdict"]["decision"]) == (4, "calibration suspicious")
    assert "near black" in told["verdict"]["reasons"][0]
    assert "darker than those of the evaluation" in told["verdict"]["reasons"][1]
    assert told["quantization"]["int8"]["figures"]["agreement"]["quantized"]["value"] == 1.0
    assert (tmp_path / "out" / "refused" / "model.json").exists()
    assert not (tmp_path / "out" / "facts.json").exists()
    assert not (tmp_path / "out" / "model").exists()


def test_a_model_that_int8_spoils_needs_training_or_float_in_the_layers_that_matter(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = (lab / "spoilt", "--calibrate", lab / "day", "--labels", lab / "labels.json")
    status, told = _run(capsys, *common, "--out", tmp_path / "int8")
    assert (status, told["verdict"]["decision"]) == (3, "needs training")
    assert "the calibration is not the cause" in told["verdict"]["reasons"][0]
    status, told = _run(capsys, *common, "--mixed", "--out", tmp_path / "mixed")
    assert (status, told["verdict"]["shipped"]) == (0, "mixed")
    assert set(told["quantization"]["kept_float"]) == {"wide", "narrow"}
    manifest, _ = open_model_folder(tmp_path / "mixed" / "model")
    assert manifest.quantization == "int8, 2 layers float32"


def test_what_cannot_be_done_is_told_and_nothing_is_written(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    postprocess = make_model_folder(tmp_path / "ssd", dtype="float32", decoder="ssd_postprocess")
    (tmp_path / "there").mkdir()
    quantize_lab.write_pictures(lab / "few", count=6)
    sees_nothing = make_model_folder(tmp_path / "detector", dtype="float32", min_score=0.99)
    day, out = lab / "day", tmp_path / "out"
    cases: list[tuple[tuple[object, ...], str]] = [
        ((postprocess, "--calibrate", day, "--out", out), "cut the model before it"),
        ((lab / "sound", "--calibrate", day, "--out", tmp_path / "there"), "expected nothing there"),
        ((lab / "sound", "--calibrate", lab / "labels.json", "--out", out), "labels.json"),
        ((lab / "sound", "--calibrate", day, "--labels", tmp_path / "none.json", "--out", out), "file with labels"),
        (
            (lab / "sound", "--calibrate", day, "--frames", lab / "few", "--labels", lab / "labels.json", "--out", out),
            "found no '006.png'",
        ),
        ((sees_nothing, "--calibrate", day, "--out", out), "found none that the float model sees"),
        ((lab / "nothing", "--calibrate", day, "--out", out), "expected a model folder"),
    ]
    for arguments, said in cases:
        status, told = _run(capsys, *arguments)
        assert status == 1
        assert said in told["text"]
        assert not out.exists()
