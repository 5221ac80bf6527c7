"""`edgeapp-workshop convert`: one way in, whatever the model is, and errors that say what to do."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgeapp.vision.tflite import Runtime
from edgeapp.workshop import cli
from tests.fakes.frozen_graph import TinyDetector
from tests.fakes.tiny_models import one_convolution

_ONNX = b"\x08\x08\x12\x04test"


def _graph_options() -> list[str]:
    detector = TinyDetector()
    options = ["--input-node", detector.input_node, "--input-shape", ",".join(map(str, detector.input_shape))]
    return options + [word for name, node in detector.outputs.items() for word in ("--output-node", f"{name}={node}")]


def _environment(folder: Path, module: str, content: str) -> str:
    """An interpreter in whose environment a converter of this name is installed."""
    (folder / f"{module}.py").write_text(content)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return str(python)


def test_a_frozen_graph_becomes_a_model_that_means_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "graph.bin").write_bytes(TinyDetector().content)
    out = tmp_path / "model.tflite"
    assert cli.main(["convert", str(tmp_path / "graph.bin"), "--out", str(out), *_graph_options(), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["kind"] == "frozen graph"
    assert told["inputs"] == ["float32[1, 8, 8, 3] 'input'"]
    picture = np.random.default_rng(0).uniform(-1, 1, TinyDetector.input_shape)
    runtime = Runtime(out, delegate="none")
    runtime.set_input(runtime.inputs["input"], picture.astype(np.float32))
    runtime.invoke()
    boxes, scores = TinyDetector().compute(picture)
    assert np.allclose(runtime.output(runtime.outputs["boxes"]), boxes, atol=1e-4)
    assert np.allclose(runtime.output(runtime.outputs["scores"]), scores, atol=1e-4)


def test_another_converter_runs_in_the_environment_that_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made.tflite").write_bytes(one_convolution())
    python = _environment(
        tmp_path,
        "onnx2tf",
        "import shutil\ndef convert(*, input_onnx_file_path, output_folder_path, non_verbose):\n"
        f"    assert open(input_onnx_file_path, 'rb').read() == {_ONNX!r}\n"
        f"    shutil.copy({str(tmp_path / 'made.tflite')!r}, output_folder_path + '/m_float32.tflite')\n"
        f"    shutil.copy({str(tmp_path / 'made.tflite')!r}, output_folder_path + '/m_float16.tflite')\n",
    )
    (tmp_path / "model.onnx").write_bytes(_ONNX)
    out = tmp_path / "out.tflite"
    assert cli.main(["convert", str(tmp_path / "model.onnx"), "--out", str(out), "--python", python]) == 0
    assert out.read_bytes() == one_convolution()
    assert "converted (onnx)" in capsys.readouterr().out


def test_a_converter_that_fails_is_quoted_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = _environment(tmp_path, "onnx2tf", "def convert(**_):\n    raise ValueError('no operator: Frobnicate')")
    (tmp_path / "model.onnx").write_bytes(_ONNX)
    out = tmp_path / "out.tflite"
    assert cli.main(["convert", str(tmp_path / "model.onnx"), "--out", str(out), "--python", python]) == 1
    assert "no operator: Frobnicate" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(("suffix", "package"), [("onnx", "onnx2tf"), ("pt2", "litert-torch")])
def test_an_absent_converter_is_named_with_the_commands_that_bring_it(
    tmp_path: Path, suffix: str, package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / f"model.{suffix}"
    if suffix == "pt2":
        with zipfile.ZipFile(model, "w") as archive:
            archive.writestr("archive/archive_format", "pt2")
    else:
        model.write_bytes(_ONNX)
    assert cli.main(["convert", str(model), "--out", str(tmp_path / "out.tflite")]) == 1
    said = capsys.readouterr().err
    assert f"pip install {package}" in said
    assert "--python" in said


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (one_convolution(), [], "needs no conversion"),
        (b"\x89HDF\r\n\x1a\n", [], "a Keras model"),
        (b"hello", [], "found something else"),
        (TinyDetector().content, [], "expected --input-node, --input-shape and --output-node"),
        (TinyDetector().content, [*_graph_options(), "--input-shape", "1,8,8"], "expected 1,HEIGHT,WIDTH,CHANNELS"),
        (TinyDetector().content, [*_graph_options(), "--output-node", "boxes"], "expected NAME=NODE"),
        (_ONNX, ["--python", "/no/python"], "--python: expected an interpreter"),
    ],
)
def test_what_cannot_be_converted_is_told(
    tmp_path: Path, content: bytes, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").write_bytes(content)
    assert cli.main(["convert", str(tmp_path / "model"), "--out", str(tmp_path / "out.tflite"), *options]) == 1
    assert said in capsys.readouterr().err
