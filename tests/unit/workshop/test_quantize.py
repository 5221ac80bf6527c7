"""Quantizing a tiny detector: int8 throughout, ranges that do not follow the samples, and refusals that say why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgeapp.errors import ConvertError
from edgeapp.manifest import InputSpec
from edgeapp.workshop.convert import GraphCut, convert_graph
from edgeapp.workshop.graphdef import read_graph
from edgeapp.workshop.quantize import quantize_int8
from edgeapp.workshop.tflite_file import ModelBuilder, with_signature
from tests.fakes.frozen_graph import TinyDetector

SPEC = InputSpec(width=8, height=8, mean=(127.5,), std=(127.5,))
Floats = npt.NDArray[np.float32]


@pytest.fixture
def float_model(tmp_path: Path) -> Path:
    detector = TinyDetector()
    cut = GraphCut(input_node=detector.input_node, input_shape=detector.input_shape, outputs=detector.outputs)
    path = tmp_path / "float.tflite"
    path.write_bytes(convert_graph(read_graph(detector.content), cut))
    return path


def _samples(low: float = -1.0, high: float = 1.0, count: int = 8) -> list[Floats]:
    random = np.random.default_rng(0)
    return [random.uniform(low, high, TinyDetector.input_shape).astype(np.float32) for _ in range(count)]


def _interpreter(path: Path) -> Any:
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return interpreter


def _run(path: Path, picture: Floats) -> dict[str, Floats]:
    """Real output values of a real input, through the quantized ends."""
    interpreter = _interpreter(path)
    (given_input,) = interpreter.get_input_details()
    scale, zero_point = given_input["quantization"]
    numbers = np.clip(np.round(picture / scale) + zero_point, -128, 127).astype(np.int8)
    interpreter.set_tensor(given_input["index"], numbers)
    interpreter.invoke()
    return {
        one["name"]: (interpreter.get_tensor(one["index"]).astype(np.float32) - one["quantization"][1])
        * one["quantization"][0]
        for one in interpreter.get_output_details()
    }


def test_quantized_detector_is_int8_at_both_ends_and_stays_near_the_float_one(
    float_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8.tflite"
    result = quantize_int8(float_model, out, _samples(), input_spec=SPEC)
    interpreter = _interpreter(out)
    ends = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [np.dtype(one["dtype"]).name for one in ends] == ["int8"] * 3
    picture = _samples(count=9)[-1]
    boxes, scores = TinyDetector().compute(picture.astype(float))
    found = _run(out, picture)
    assert np.abs(found[result.outputs["boxes"]] - boxes).max() < 0.05 * np.abs(boxes).max()
    assert np.abs(found[result.outputs["scores"]] - scores).max() < 0.03


def test_weights_have_a_scale_for_each_output_channel(float_model: Path, tmp_path: Path) -> None:
    quantize_int8(float_model, tmp_path / "int8.tflite", _samples(), input_spec=SPEC)
    details = {one["name"]: one for one in _interpreter(tmp_path / "int8.tflite").get_tensor_details()}
    assert details["stem/relu/weights"]["dtype"] == np.int8
    assert len(details["stem/relu/weights"]["quantization_parameters"]["scales"]) == 4


@pytest.mark.parametrize(("low", "high"), [(-1.0, -0.8), (0.7, 0.9), (-0.1, 0.1)])
def test_input_scale_does_not_follow_the_brightness_of_the_samples(
    float_model: Path, tmp_path: Path, low: float, high: float
) -> None:
    result = quantize_int8(float_model, tmp_path / "int8.tflite", _samples(low, high), input_spec=SPEC)
    assert result.input_scale == pytest.approx(2 / 255, rel=1e-5)
    assert result.input_zero_point in (-1, 0)


def test_mean_and_std_of_each_channel_say_what_black_and_white_are(float_model: Path, tmp_path: Path) -> None:
    spec = InputSpec(width=8, height=8, mean=(0.0, 100.0, 0.0), std=(255.0, 255.0, 51.0))
    result = quantize_int8(float_model, tmp_path / "int8.tflite", _samples(0, 0.5), input_spec=spec)
    assert result.input_scale == pytest.approx((5 + 100 / 255) / 255, rel=1e-5)


def test_model_without_a_signature_is_quantized_too(float_model: Path, tmp_path: Path) -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(float_model.read_bytes()), 0))
    model.signatureDefs = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(bytes(builder.Output()))
    assert not Interpreter(str(bare)).get_signature_list()
    result = quantize_int8(bare, tmp_path / "int8.tflite", _samples(), input_spec=SPEC)
    assert set(result.outputs) == {"boxes", "scores"}


def test_signature_that_is_there_is_left_as_it_is(float_model: Path) -> None:
    content = float_model.read_bytes()
    assert with_signature(content) == content


def test_postprocess_in_the_graph_is_refused_with_what_to_do(tmp_path: Path) -> None:
    builder = ModelBuilder()
    source, output = builder.activation("input", [1, 8]), builder.activation("out", [1, 8])
    builder.operator("CUSTOM", [source], output)
    model = schema.ModelT.InitFromObj(
        schema.Model.GetRootAsModel(bytearray(builder.finish({"input": source}, {"out": output}, "test")), 0)
    )
    model.operatorCodes[0].customCode = "TFLite_Detection_PostProcess"
    packer = flatbuffers.Builder(1024)
    packer.Finish(model.Pack(packer), b"TFL3")
    path = tmp_path / "ssd.tflite"
    path.write_bytes(bytes(packer.Output()))
    with pytest.raises(ConvertError, match=r"TFLite_Detection_PostProcess.*cut the model before it.*ssd_raw"):
        quantize_int8(path, tmp_path / "int8.tflite", _samples(), input_spec=SPEC)


def test_samples_that_do_not_fit_are_refused_and_nothing_is_written(float_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.tflite"
    endless = np.full(TinyDetector.input_shape, np.inf, np.float32)
    cases: list[tuple[list[Any], str]] = [
        ([], "found none"),
        ([np.zeros((1, 9, 8, 3), np.float32)], r"sample 0: .*found float32 \[1, 9, 8, 3\]"),
        ([*_samples(), np.zeros(TinyDetector.input_shape, np.uint8)], "sample 8: .*found uint8"),
        ([endless], "finite"),
    ]
    for samples, message in cases:
        with pytest.raises(ConvertError, match=message):
            quantize_int8(float_model, out, samples, input_spec=SPEC)
    assert not out.exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x1c\x00\x00\x00TFL3\x14\x00"])
def test_what_is_no_tflite_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.tflite"
    path.write_bytes(content)
    with pytest.raises(ConvertError, match="expected a"):
        quantize_int8(path, tmp_path / "int8.tflite", _samples(), input_spec=SPEC)
    with pytest.raises(ConvertError, match=r"absent\.tflite"):
        quantize_int8(tmp_path / "absent.tflite", tmp_path / "int8.tflite", _samples(), input_spec=SPEC)


def test_progress_rises_to_one(float_model: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    quantize_int8(
        float_model,
        tmp_path / "int8.tflite",
        _samples(),
        input_spec=SPEC,
        progress=lambda step, share: told.append((step, share)),
    )
    shares = [share for _, share in told]
    assert {step for step, _ in told} == {"quantize"}
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


def test_libraries_say_nothing_on_the_terminal(float_model: Path, tmp_path: Path) -> None:
    # In a process of its own: the runtime's native line comes once in a process.
    program = """
import sys
from pathlib import Path
import numpy as np
from edgeapp.manifest import InputSpec
from edgeapp.workshop.quantize import quantize_int8
samples = [np.random.default_rng(0).uniform(-1, 1, (1, 8, 8, 3)).astype(np.float32)] * 8
spec = InputSpec(width=8, height=8, mean=(127.5,), std=(127.5,))
quantize_int8(Path(sys.argv[1]), Path(sys.argv[2]), samples, input_spec=spec)
print("done")
"""
    command = [sys.executable, "-c", program, str(float_model), str(tmp_path / "int8.tflite")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
