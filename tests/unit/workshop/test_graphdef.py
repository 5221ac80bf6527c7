"""Reading frozen graphs: every way a tensor may be stored, and no damage that ends in anything but ConvertError."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.errors import ConvertError
from edgeapp.workshop.graphdef import Node, read_graph
from tests.fakes import frozen_graph as fake


def _only(**attributes: object) -> Node:
    return read_graph(fake.graph(fake.node("one", "Op", ["left", "^after", "right:0"], **attributes)))["one"]


def test_node_has_its_name_op_and_data_inputs_without_control_inputs() -> None:
    node = _only()
    assert (node.name, node.op, node.inputs) == ("one", "Op", ("left", "right:0"))


def test_attributes_come_back_as_they_were_written() -> None:
    node = _only(padding="SAME", axis=-2, epsilon=0.25, is_training=False, strides=[1, 2, -3, 1])
    assert node.text("padding") == "SAME"
    assert node.integer("axis") == -2
    assert node.number("epsilon") == 0.25
    assert node.boolean("is_training", True) is False
    assert node.integers("strides") == (1, 2, -3, 1)


def test_missing_attribute_takes_the_default_or_is_named() -> None:
    assert _only().integers("dilations", (1, 1)) == (1, 1)
    with pytest.raises(ConvertError, match=r"one.*Op.*attribute padding"):
        _only().text("padding")


@given(
    shape=st.lists(st.integers(0, 4), max_size=4),
    dtype=st.sampled_from(["float32", "float64", "int32", "int64"]),
    seed=st.integers(0, 1000),
)
def test_tensor_content_comes_back_with_shape_and_type(shape: list[int], dtype: str, seed: int) -> None:
    values = (np.random.default_rng(seed).normal(0, 1000, shape)).astype(dtype)
    found = _only(value=values).tensor()
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@given(
    values=st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=5),
    missing=st.integers(0, 4),
    is_packed=st.booleans(),
)
def test_listed_integers_repeat_the_last_one_up_to_the_shape(values: list[int], missing: int, is_packed: bool) -> None:
    encoded = [fake.varint(value) for value in values]
    field = (
        fake.bytes_field(7, b"".join(encoded)) if is_packed else b"".join(fake.varint(7 << 3) + one for one in encoded)
    )
    proto = fake.tensor_head("int32", [len(values) + missing]) + field
    assert _only(value=proto).tensor().tolist() == values + values[-1:] * missing


def test_one_listed_float_fills_the_whole_tensor() -> None:
    proto = fake.tensor_head("float32", [2, 3]) + fake.varint(5 << 3 | 5) + np.float32(1.5).tobytes()
    np.testing.assert_array_equal(_only(value=proto).tensor(), np.full((2, 3), 1.5, np.float32))


def test_shape_that_asks_for_gigabytes_is_refused() -> None:
    proto = fake.tensor_head("float32", [1 << 40]) + fake.varint(5 << 3 | 5) + np.float32(1.5).tobytes()
    with pytest.raises(ConvertError, match="at most"):
        _only(value=proto).tensor()


def test_more_values_than_the_shape_has_room_for_are_refused() -> None:
    proto = fake.tensor_head("float32", [2]) + fake.bytes_field(4, np.zeros(3, np.float32).tobytes())
    with pytest.raises(ConvertError, match="expected 2 values in the tensor, found 3"):
        _only(value=proto).tensor()


@pytest.mark.parametrize("content", [b"", b"<html><body>not found</body></html>", b"\x00" * 64, b"\xff" * 64])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(ConvertError):
        read_graph(content)


@settings(max_examples=200)
@given(data=st.data())
def test_damage_anywhere_is_read_or_refused_but_never_another_error(data: st.DataObject) -> None:
    content = bytearray(
        fake.graph(
            fake.constant("weights", np.arange(6, dtype=np.float32)),
            fake.node("sum", "Add", ["weights", "weights"], strides=[1, 2, 2, 1], epsilon=0.5, padding="SAME"),
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with contextlib.suppress(ConvertError):
        for node in read_graph(bytes(content)).values():
            for read in (node.tensor, lambda one=node: one.integers("strides"), lambda one=node: one.number("epsilon")):
                with contextlib.suppress(ConvertError):
                    read()
