"""`edgeapp-workshop convert`: one way in, whatever the model is, and errors that say what to do."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgeapp.vision.tflite import Runtime
from edgeapp.workshop import cli
from edgeapp.workshop.tflite_file import ModelBuilder
from tests.fakes.frozen_graph import TinyDetector
from tests.fakes.tiny_models import one_convolution

_ONNX = b"\x08\x08\x12\x04test"


_ONNX_READER = """
from types import SimpleNamespace as Some
SIZES = [-1, 3, 8, 8]
def load(path):
    shape = Some(dim=[Some(dim_value=size) for size in SIZES])
    image = Some(name='image', type=Some(tensor_type=Some(shape=shape)))
    kernel = Some(name='kernel')
    return Some(graph=Some(initializer=[kernel], input=[kernel, image], output=[], value_info=[], node=[]))
def save(model, path):
    sizes = [size.dim_value for size in model.graph.input[1].type.tensor_type.shape.dim]
    open(path, 'w').write(str(sizes))
"""


def _graph_options() -> list[str]:
    detector = TinyDetector()
    options = ["--input-node", detector.input_node, "--input-shape", ",".join(map(str, detector.input_shape))]
    return options + [word for name, node in detector.outputs.items() for word in ("--output-node", f"{name}={node}")]


def _environment(folder: Path, module: str, content: str) -> str:
    """An interpreter in whose environment a converter of this name is installed."""
    (folder / f"{module}.py").write_text(content)
    (folder / "onnx.py").write_text(_ONNX_READER)
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
        "    assert open(input_onnx_file_path).read() == '[1, 3, 8, 8]'\n"
        f"    shutil.copy({str(tmp_path / 'made.tflite')!r}, output_folder_path + '/m_float32.tflite')\n"
        f"    shutil.copy({str(tmp_path / 'made.tflite')!r}, output_folder_path + '/m_float16.tflite')\n",
    )
    (tmp_path / "model.onnx").write_bytes(_ONNX)
    out = tmp_path / "out.tflite"
    assert cli.main(["convert", str(tmp_path / "model.onnx"), "--out", str(out), "--python", python]) == 0
    assert out.read_bytes() == one_convolution()
    assert "converted (onnx)" in capsys.readouterr().out


_RUNTIME = """
import numpy
class _Tensor:
    def __init__(self, name, shape): self.name, self.shape = name, shape
class InferenceSession:
    def __init__(self, path, providers): pass
    def get_inputs(self): return [_Tensor('image', ['batch', 3, 8, 8])]
    def get_outputs(self): return [_Tensor('brightness', [1, 1, 8, 8])]
    def run(self, names, given): return [given['image'].sum(axis=1, keepdims=True) * {gain}]
"""


def _channel_sums() -> bytes:
    """A model with its channels last: each pixel becomes the sum of its channels."""
    builder = ModelBuilder()
    source, output = builder.activation("image", [1, 8, 8, 3]), builder.activation("sums", [1, 8, 8, 1])
    kernel = builder.constant("kernel", np.ones((1, 1, 1, 3), np.float32))
    bias = builder.constant("bias", np.zeros(1, np.float32))
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    builder.operator("CONV_2D", [source, kernel, bias], output, ("Conv2DOptions", options))
    return builder.finish({"image": source}, {"sums": output}, "sums")


@pytest.mark.parametrize("gain", [1.0, 1.01])
def test_a_converted_model_is_held_against_what_the_original_answers(
    tmp_path: Path, gain: float, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made.tflite").write_bytes(_channel_sums())
    (tmp_path / "onnxruntime.py").write_text(_RUNTIME.replace("{gain}", str(gain)))
    copies = (
        f"import shutil\ndef convert(*, output_folder_path, **_):\n    shutil.copy({str(tmp_path / 'made.tflite')!r}, "
    )
    python = _environment(tmp_path, "onnx2tf", f"{copies}output_folder_path + '/m_float32.tflite')\n")
    (tmp_path / "model.onnx").write_bytes(_ONNX)
    out = tmp_path / "out.tflite"
    status = cli.main(["convert", str(tmp_path / "model.onnx"), "--out", str(out), "--python", python, "--json"])
    told = json.loads(capsys.readouterr().out)
    if gain != 1.0:
        assert status == 1
        assert "'sums' off by" in told["text"]
        assert "'brightness' there" in told["text"]
        assert list(tmp_path.glob("out.*")) == []
        return
    assert status == 0
    assert told["checked_steps"] < 0.01
    with np.load(told["original"]) as arrays:
        assert arrays["input"].shape == (4, 1, 8, 8, 3)
        np.testing.assert_allclose(arrays["output.sums"][..., 0], arrays["input"].sum(axis=-1), rtol=1e-5)


def test_sizes_that_an_onnx_file_leaves_open_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "made.tflite").write_bytes(one_convolution())
    python = _environment(
        tmp_path,
        "onnx2tf",
        "import shutil\ndef convert(*, input_onnx_file_path, output_folder_path, **_):\n"
        "    assert open(input_onnx_file_path).read() == '[1, 3, 48, 192]'\n"
        f"    shutil.copy({str(tmp_path / 'made.tflite')!r}, output_folder_path + '/m_float32.tflite')\n",
    )
    (tmp_path / "onnx.py").write_text(_ONNX_READER.replace("[-1, 3, 8, 8]", "[-1, 3, 0, 0]"))
    (tmp_path / "model.onnx").write_bytes(_ONNX)
    words = ["convert", str(tmp_path / "model.onnx"), "--out", str(tmp_path / "out.tflite"), "--python", python]
    assert cli.main(words) == 1
    assert "--input-shape: expected the sizes of 'image', which are [?, 3, ?, ?]" in capsys.readouterr().err
    assert cli.main([*words, "--input-shape", "1,3,H,W"]) == 1
    assert "expected sizes such as" in capsys.readouterr().err
    assert cli.main([*words, "--input-shape", "1,3,48,192"]) == 0


def test_where_the_original_framework_cannot_be_asked_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made.tflite").write_bytes(one_convolution())
    (tmp_path / "onnxruntime.py").write_text("def InferenceSession(*_, **__):\n    raise ValueError('opset 99')\n")
    copies = (
        f"import shutil\ndef convert(*, output_folder_path, **_):\n    shutil.copy({str(tmp_path / 'made.tflite')!r}, "
    )
    python = _environment(tmp_path, "onnx2tf", f"{copies}output_folder_path + '/m_float32.tflite')\n")
    (tmp_path / "model.onnx").write_bytes(_ONNX)
    out = tmp_path / "out.tflite"
    assert cli.main(["convert", str(tmp_path / "model.onnx"), "--out", str(out), "--python", python]) == 0
    assert "Not checked: ValueError: opset 99" in capsys.readouterr().out
    assert [path.name for path in tmp_path.glob("out.*")] == ["out.tflite"]


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
