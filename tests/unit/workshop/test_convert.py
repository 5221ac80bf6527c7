"""Converting frozen graphs: the numbers are those of the graph's definition, and what is not exact is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.errors import ConvertError
from edgeapp.workshop.convert import GraphCut, convert_frozen_graph, convert_graph
from edgeapp.workshop.graphdef import read_graph
from edgeapp.workshop.tflite_file import operator_names
from tests.fakes import frozen_graph as fake
from tests.fakes.frozen_graph import TinyDetector

DETECTOR_CUT = GraphCut(
    input_node=TinyDetector.input_node, input_shape=TinyDetector.input_shape, outputs=TinyDetector.outputs
)


def _run(content: bytes, picture: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture.astype(np.float32))
    interpreter.invoke()
    return {one["name"]: interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()}


def _convert(
    *nodes: bytes, outputs: dict[str, str], shape: tuple[int, int, int, int] = (1, 5, 5, 2), source: str = "in"
) -> bytes:
    nodes = (fake.node("in", "Placeholder"), *nodes)
    cut = GraphCut(input_node=source, input_shape=shape, outputs=outputs)
    return convert_graph(read_graph(fake.graph(*nodes)), cut)


def _picture(shape: tuple[int, ...], seed: int = 0) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32).astype(float)


@pytest.mark.parametrize("seed", range(3))
def test_detector_computes_what_its_graph_defines(seed: int) -> None:
    detector = TinyDetector(seed)
    picture = _picture(detector.input_shape, seed)
    found = _run(convert_graph(read_graph(detector.content), DETECTOR_CUT), picture)
    boxes, scores = detector.compute(picture)
    np.testing.assert_allclose(found["boxes"], boxes, atol=1e-5)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)


def test_norm_bias_and_relu6_leave_no_operator_of_their_own() -> None:
    content = convert_graph(read_graph(TinyDetector().content), DETECTOR_CUT)
    assert sorted(operator_names(content)) == sorted(
        ["CONV_2D"] * 3 + ["DEPTHWISE_CONV_2D", "ADD"] + ["RESHAPE"] * 3 + ["CONCATENATION"] * 2 + ["LOGISTIC"]
    )


def test_file_has_the_cut_s_names_shapes_and_a_signature() -> None:
    interpreter = Interpreter(model_content=convert_graph(read_graph(TinyDetector().content), DETECTOR_CUT))
    (given_input,) = interpreter.get_input_details()
    assert (given_input["name"], given_input["shape"].tolist()) == ("input", [1, 8, 8, 3])
    assert {one["name"]: one["shape"].tolist() for one in interpreter.get_output_details()} == {
        "boxes": [1, 64, 4],
        "scores": [1, 64, 2],
    }
    (signature,) = interpreter.get_signature_list().values()
    assert (signature["inputs"], sorted(signature["outputs"])) == (["input"], ["boxes", "scores"])


def test_same_graph_gives_the_same_bytes() -> None:
    nodes = read_graph(TinyDetector().content)
    assert convert_graph(nodes, DETECTOR_CUT) == convert_graph(nodes, DETECTOR_CUT)


def test_weights_start_on_a_multiple_of_sixteen_bytes() -> None:
    kernel = np.random.default_rng(1).normal(0, 1, (1, 1, 2, 3)).astype(np.float32)
    content = _convert(fake.constant("k", kernel), fake.convolution("c", "in", "k"), outputs={"out": "c"})
    assert content.index(kernel.transpose(3, 0, 1, 2).tobytes()) % 16 == 0


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["SAME", "VALID"]),
    is_depthwise=st.booleans(),
    last=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_convolution_of_any_size_computes_its_definition(
    size: tuple[int, int],
    kernel_size: tuple[int, int],
    stride: int,
    padding: str,
    is_depthwise: bool,
    last: int,
    seed: int,
) -> None:
    if padding == "VALID":
        size = (max(size[0], kernel_size[0]), max(size[1], kernel_size[1]))
    shape = (1, *size, 2)
    kernel = np.random.default_rng(seed).normal(0, 1, (*kernel_size, 2, last)).astype(np.float32)
    op = "DepthwiseConv2dNative" if is_depthwise else "Conv2D"
    content = _convert(
        fake.constant("k", kernel),
        fake.convolution("c", "in", "k", stride, padding, op=op),
        outputs={"out": "c"},
        shape=shape,
    )
    picture = _picture(shape, seed)
    expected = fake.convolve(picture, kernel.astype(float), stride, padding, is_depthwise=is_depthwise)
    np.testing.assert_allclose(_run(content, picture)["out"], expected, atol=1e-4)


def test_result_used_before_and_after_its_norm_is_right_in_both_places() -> None:
    kernel = np.random.default_rng(3).normal(0, 1, (1, 1, 2, 2)).astype(np.float32)
    statistics = [np.array(values, np.float32) for values in ([2, 0.5], [1, -1], [0.3, -0.2], [0.5, 2])]
    content = _convert(
        fake.constant("k", kernel),
        *(fake.constant(name, values) for name, values in zip("gbmv", statistics, strict=True)),
        fake.convolution("conv", "in", "k"),
        fake.batch_norm("norm", "conv", "gbmv", 0.01),
        fake.node("both", "AddV2", ["conv", "norm"]),
        fake.node("capped", "Relu6", ["both"]),
        outputs={"out": "capped"},
    )
    picture = _picture((1, 5, 5, 2))
    raw = fake.convolve(picture, kernel.astype(float), 1, "SAME")
    gamma, beta, mean, variance = (values.astype(float) for values in statistics)
    expected = fake.relu6(raw + fake.normalise(raw, gamma, beta, mean, variance, 0.01))
    np.testing.assert_allclose(_run(content, picture)["out"], expected, atol=1e-5)
    assert operator_names(content).count("RELU6") == 1


def test_output_that_is_only_another_name_for_a_tensor_has_the_cut_s_name() -> None:
    content = _convert(
        fake.constant("k", np.ones((1, 1, 2, 1), np.float32)),
        fake.convolution("c", "in", "k"),
        fake.node("again", "Identity", ["c"]),
        outputs={"out": "again"},
    )
    assert set(_run(content, _picture((1, 5, 5, 2)))) == {"out"}


def test_unknown_operator_is_named_with_its_node() -> None:
    with pytest.raises(ConvertError, match=r"node strange: .*found Softplus"):
        _convert(fake.node("strange", "Softplus", ["in"]), outputs={"out": "strange"})


def test_what_lies_before_the_cut_need_not_be_known() -> None:
    content = convert_graph(read_graph(TinyDetector().content), DETECTOR_CUT)
    assert b"DecodeJpeg" in TinyDetector().content
    assert b"DecodeJpeg" not in content


KERNEL = fake.constant("k", np.ones((1, 1, 2, 2), np.float32))
CHANNELS = [fake.constant(name, np.ones(2, np.float32)) for name in "gbmv"]
CONVOLUTION = fake.convolution("c", "in", "k")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        pytest.param([fake.node("out", "Identity", ["nowhere"])], "node nowhere", id="missing-node"),
        pytest.param([fake.node("out", "Relu6", ["out"])], "node out: expected no loop", id="loop"),
        pytest.param([fake.node("out", "Relu6", ["in:1"])], "found output 1", id="second-output"),
        pytest.param([fake.node("out", "Relu6")], r"out \(Relu6\): expected at least 1 inputs", id="no-input"),
        pytest.param([fake.node("out", "ConcatV2")], r"out \(ConcatV2\): expected at least", id="empty-concat"),
        pytest.param([KERNEL, fake.convolution("out", "in", "k", dilations=[1, 2, 2, 1])], "dilations", id="dilated"),
        pytest.param([KERNEL, fake.convolution("out", "in", "k", data_format="NCHW")], "NCHW", id="channels-first"),
        pytest.param([KERNEL, fake.convolution("out", "in", "k", padding="EXPLICIT")], "EXPLICIT", id="padding"),
        pytest.param([fake.convolution("out", "in", "in")], "input 1 to be constant", id="computed-kernel"),
        pytest.param(
            [fake.constant("k", np.ones((1, 1, 3, 2), np.float32)), fake.convolution("out", "in", "k")],
            "as many channels",
            id="channels",
        ),
        pytest.param(
            [
                fake.constant("k", np.ones((7, 7, 2, 2), np.float32)),
                fake.convolution("out", "in", "k", padding="VALID"),
            ],
            "at least 7x7",
            id="picture-too-small",
        ),
        pytest.param(
            [KERNEL, *CHANNELS, CONVOLUTION, fake.batch_norm("out", "c", "gbmv", 0.1, is_training=True)],
            "is_training",
            id="training",
        ),
        pytest.param([*CHANNELS, fake.batch_norm("out", "in", "gbmv", 0.1)], "fold it into", id="norm-of-the-input"),
        pytest.param(
            [KERNEL, *CHANNELS, CONVOLUTION, fake.node("r", "Relu6", ["c"]), fake.batch_norm("out", "r", "gbmv", 0.1)],
            "fold it into",
            id="norm-after-relu6",
        ),
        pytest.param(
            [KERNEL, CONVOLUTION, fake.constant("b", np.ones(3, np.float32)), fake.node("out", "BiasAdd", ["c", "b"])],
            r"shape \[2\]",
            id="bias-of-another-width",
        ),
        pytest.param(
            [fake.constant("two", np.array(2, np.float32)), fake.node("out", "RealDiv", ["in", "two"])],
            "division by the constant 1",
            id="temperature",
        ),
        pytest.param(
            [fake.constant("s", np.array([1, 3, 7], np.int32)), fake.node("out", "Reshape", ["in", "s"])],
            "shape of 50 values",
            id="reshape",
        ),
        pytest.param([fake.node("out", "Squeeze", ["in"], squeeze_dims=[1])], "of size 1", id="squeeze"),
        pytest.param(
            [KERNEL, fake.convolution("c", "in", "k", 2), fake.node("out", "Add", ["c", "in"])], "one shape", id="add"
        ),
        pytest.param(
            [
                KERNEL,
                fake.convolution("c", "in", "k", 2),
                fake.constant("axis", np.array(1, np.int32)),
                fake.node("out", "ConcatV2", ["c", "in", "axis"]),
            ],
            "along axis 1 only",
            id="concat",
        ),
    ],
)
def test_what_has_no_exact_counterpart_is_refused(nodes: list[bytes], message: str) -> None:
    with pytest.raises(ConvertError, match=message):
        _convert(*nodes, outputs={"out": "out"})


def test_two_outputs_of_one_tensor_are_refused() -> None:
    with pytest.raises(ConvertError, match="tensor of its own"):
        _convert(fake.node("r", "Relu6", ["in"]), outputs={"boxes": "r", "scores": "r"})


def test_refused_graph_leaves_the_old_file(tmp_path: Path) -> None:
    source, out = tmp_path / "graph.pb", tmp_path / "model.tflite"
    out.write_bytes(b"old")
    source.write_bytes(b"no graph")
    with pytest.raises(ConvertError):
        convert_frozen_graph(source, out, DETECTOR_CUT)
    assert out.read_bytes() == b"old"
    with pytest.raises(ConvertError, match=r"absent\.pb"):
        convert_frozen_graph(tmp_path / "absent.pb", out, DETECTOR_CUT)
