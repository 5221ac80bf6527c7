"""The adapter on real, tiny models: what is measured on the interpreter, and what a refused file says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeapp.errors import ModelError
from edgeapp.types import DelegateReport
from edgeapp.vision import tflite
from edgeapp.vision.advice import advice
from edgeapp.vision.tensor import TensorSpec
from tests.fakes.tiny_models import make_model_folder


def build(folder: Path, **options: Any) -> tflite.Runtime:
    return tflite.Runtime(make_model_folder(folder, dtype=options.pop("dtype", "int8")) / "model.tflite", **options)


def operator(index: int, name: str, inputs: list[int], outputs: list[int], *operands: str) -> dict[str, Any]:
    return {"index": index, "name": name, "inputs": inputs, "outputs": outputs, "operands": list(operands)}


def test_importing_the_adapter_loads_no_runtime() -> None:
    code = (
        "import sys, edgeapp.vision.tflite; "
        "sys.exit(any(name.startswith(('ai_edge_litert', 'tflite_runtime')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_tensors_are_described(tmp_path: Path) -> None:
    runtime = build(tmp_path)
    image, scores = runtime.inputs["image"], runtime.outputs["scores"]
    assert (image.shape, image.dtype, image.zero_point) == ((1, 32, 32, 3), "int8", -128)
    assert image.scale == pytest.approx(1 / 255)
    assert (scores.shape, scores.dtype, scores.scale, scores.zero_point) == ((1, 512, 2), "int8", 1 / 256, -128)
    assert set(runtime.outputs) == {"boxes", "scores"}


def test_invoke_computes_the_outputs_from_the_input(tmp_path: Path) -> None:
    runtime = build(tmp_path)
    image, scores = runtime.inputs["image"], runtime.outputs["scores"]
    highest = []
    for level in (-128, 127):
        runtime.set_input(image, np.full(image.shape, level, np.int8))
        runtime.invoke()
        highest.append(int(runtime.output(scores)[0, :, 1].max()))
    assert highest == [-128, 127]


def test_lent_memory_is_the_input_and_must_be_let_go_of(tmp_path: Path) -> None:
    runtime = build(tmp_path)
    image, scores = runtime.inputs["image"], runtime.outputs["scores"]
    memory = runtime.lend_input(image)
    memory[:] = 127
    with pytest.raises(ModelError, match="invoke failed"):
        runtime.invoke()
    del memory
    runtime.invoke()
    assert int(runtime.output(scores)[0, :, 1].max()) == 127


def test_default_delegate_takes_most_of_an_int8_model(tmp_path: Path) -> None:
    report = build(tmp_path).delegate
    assert report.name == "xnnpack"
    assert report.nodes == 5
    assert report.delegated + sum(report.remaining.values()) == report.nodes
    assert report.delegated >= 4
    assert report.partitions >= 1


def test_none_keeps_every_delegate_away(tmp_path: Path) -> None:
    report = build(tmp_path, delegate="none").delegate
    assert report == DelegateReport(
        name="none",
        nodes=5,
        delegated=0,
        partitions=0,
        remaining={"CONV_2D": 2, "RESHAPE": 2, "LOGISTIC": 1},
    )


def test_delegate_changes_no_output_by_more_than_a_step(tmp_path: Path) -> None:
    results = []
    for delegate in ("auto", "none"):
        runtime = build(tmp_path / delegate, delegate=delegate)
        image = runtime.inputs["image"]
        noise = np.random.default_rng(0).integers(-128, 128, image.shape).astype(np.int8)
        runtime.set_input(image, noise)
        runtime.invoke()
        results.append(runtime.output(runtime.outputs["scores"]).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 2


@pytest.mark.parametrize(("dtype", "weights"), [("int8", "int8"), ("uint8", "uint8"), ("float32", "float")])
def test_kind_of_weights_is_read_from_the_graph(tmp_path: Path, dtype: Any, weights: str) -> None:
    assert build(tmp_path, dtype=dtype).weights == weights


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda _: b"<html>404 Not Found</html>", id="web page"),
        pytest.param(lambda content: content.replace(b"TFL3", b"TFL9"), id="other format"),
    ],
)
def test_file_that_is_no_model_is_refused_with_its_path(tmp_path: Path, damage: Any) -> None:
    path = make_model_folder(tmp_path) / "model.tflite"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"model\.tflite: expected a model that .* can run, found: \S"):
        tflite.Runtime(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.tflite"):
        tflite.Runtime(tmp_path / "nowhere.tflite")


def test_input_of_another_shape_or_type_is_refused(tmp_path: Path) -> None:
    runtime = build(tmp_path)
    image = runtime.inputs["image"]
    for values in (np.zeros((1, 16, 16, 3), np.int8), np.zeros(image.shape, np.float32)):
        with pytest.raises(ModelError, match="input int8"):
            runtime.set_input(image, values)


def test_output_that_does_not_exist_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'nothing'"):
        build(tmp_path).output(TensorSpec("nothing", (1,), "int8", index=9999))


def test_closed_runtime_refuses_to_run(tmp_path: Path) -> None:
    runtime = build(tmp_path)
    runtime.close()
    with pytest.raises(ModelError, match="invoke failed"):
        runtime.invoke()
    with pytest.raises(ModelError, match="input int8"):
        runtime.lend_input(runtime.inputs["image"])


def test_no_installed_runtime_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter", "tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)  # Python's way to make an import fail
    with pytest.raises(ModelError, match="expected ai-edge-litert or tflite-runtime to be installed"):
        tflite.Runtime(tmp_path / "model.tflite")


class TestDelegateReport:
    def test_operators_between_a_partitions_edges_are_taken(self) -> None:
        chain = [operator(index, name, [index], [index + 1]) for index, name in enumerate("ABCD")]
        report = tflite.delegate_report([*chain, operator(4, "DELEGATE", [1], [3])])
        assert (report.nodes, report.delegated, report.partitions) == (4, 2, 1)
        assert report.remaining == {"A": 1, "D": 1}

    def test_every_partition_counts(self) -> None:
        chain = [operator(index, name, [index], [index + 1]) for index, name in enumerate("ABC")]
        report = tflite.delegate_report([*chain, operator(3, "DELEGATE", [0], [1]), operator(4, "DELEGATE", [2], [3])])
        assert (report.delegated, report.partitions, report.remaining) == (2, 2, {"B": 1})

    def test_absent_optional_inputs_are_no_operators(self) -> None:
        report = tflite.delegate_report([operator(0, "A", [0, -1], [1]), operator(1, "DELEGATE", [0], [1])])
        assert (report.nodes, report.delegated) == (1, 1)

    def test_changed_private_interface_makes_the_report_unknown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(Interpreter, "_get_ops_details")
        runtime = build(tmp_path)
        assert runtime.delegate == DelegateReport("unknown", 0, 0, 0)
        assert runtime.weights == "unknown"


def test_dynamic_range_is_float_inputs_with_int8_weights() -> None:
    assert tflite.weights_kind([operator(0, "CONV_2D", [], [], "float32", "int8", "float32")]) == "dynamic"
    assert tflite.weights_kind([operator(0, "ADD", [], [], "float32", "int8")]) == "unknown"


class _OldInterpreter:
    """What tflite-runtime 2.14 tells of a graph: operators without the types of their operands."""

    def get_tensor_details(self) -> list[dict[str, Any]]:
        return [{"index": index, "dtype": kind} for index, kind in enumerate((np.int8, np.int8, np.int32, np.int8))]

    def _get_ops_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "op_name": "CONV_2D", "inputs": np.array([0, 1, 2]), "outputs": np.array([3])}]


def test_the_older_runtime_too_tells_that_no_delegate_took_the_model() -> None:
    operators = tflite.operators_of(_OldInterpreter())
    report, weights = tflite.delegate_report(operators), tflite.weights_kind(operators)
    assert (report.name, report.nodes, report.delegated) == ("none", 1, 0)
    assert weights == "int8"
    (told,) = advice(report, weights, is_delegate_wanted=True, userland_bits=64)
    assert "no delegate took any" in told.text
