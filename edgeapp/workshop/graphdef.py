"""Reading a TensorFlow 1 frozen graph (a GraphDef protobuf) without TensorFlow.

Owns the protobuf wire format as far as a GraphDef needs it: nodes, their inputs, their attributes, constant tensors.
What the operators mean is `convert.py`'s. Attributes stay bytes until they are asked for, so the thousands of nodes
that no one needs cost nothing, and a constant's array is a read-only view of the file's bytes.

Formats: protobuf.dev/programming-guides/encoding; tensorflow/core/framework/{graph,node_def,attr_value,tensor}.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError

Array = npt.NDArray[Any]
_Field = tuple[int, int, int | memoryview]
_T = TypeVar("_T")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_VALUES = 1 << 28  # a gigabyte: no detector's tensor, but what a damaged shape asks for
# GraphDef, NodeDef and map entries.
_GRAPH_NODE = 1
_NODE_NAME, _NODE_OP, _NODE_INPUT, _NODE_ATTRIBUTE = 1, 2, 3, 5
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
# AttrValue is a oneof; inside a ListValue the same kind has the same number.
_ATTR_LIST, _ATTR_BYTES, _ATTR_INTEGER, _ATTR_FLOAT, _ATTR_BOOLEAN, _ATTR_TENSOR = 1, 2, 3, 4, 5, 8
# TensorProto.
_TENSOR_TYPE, _TENSOR_SHAPE, _TENSOR_CONTENT = 1, 2, 4
_SHAPE_DIMENSION, _DIMENSION_SIZE = 2, 1
_DATA_TYPES: dict[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}
# Where a tensor keeps its values when not in tensor_content: the field's number → how one value is encoded.
_VALUE_FIELDS = {5: "<f4", 6: "<f8", 7: "varint", 10: "varint"}


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the graph. `inputs` names its data inputs; control inputs (`^name`) are left out."""

    name: str
    op: str
    inputs: tuple[str, ...]
    _attributes: dict[str, memoryview] = field(repr=False)

    def text(self, key: str, default: str | None = None) -> str:
        """A string attribute, such as the padding."""
        value = self._value(key, _ATTR_BYTES)
        if value is None:
            return _given(self, key, default)
        return bytes(_as_bytes(value, self.name)).decode("utf-8", "replace")

    def integer(self, key: str, default: int | None = None) -> int:
        """An integer attribute, such as an axis."""
        value = self._value(key, _ATTR_INTEGER)
        if value is None:
            return _given(self, key, default)
        return _signed(_as_number(value, self.name))

    def number(self, key: str, default: float | None = None) -> float:
        """A float attribute, such as an epsilon."""
        value = self._value(key, _ATTR_FLOAT)
        if value is None:
            return _given(self, key, default)
        return float(_numbers(_as_bytes(value, self.name), np.dtype("<f4"), self.name)[0])

    def boolean(self, key: str, default: bool | None = None) -> bool:
        """A true or false attribute."""
        value = self._value(key, _ATTR_BOOLEAN)
        if value is None:
            return _given(self, key, default)
        return bool(_as_number(value, self.name))

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of integers, such as the strides."""
        value = self._value(key, _ATTR_LIST)
        if value is None:
            return _given(self, key, default)
        found: list[int] = []
        for number, wire, item in _fields(_as_bytes(value, self.name), self.name):
            if number == _ATTR_INTEGER:
                found += _varints(item, wire, self.name)
        return tuple(found)

    def tensor(self, key: str = "value") -> Array:
        """A constant's value: a read-only array of its stored shape and type.

        Raises:
            ConvertError: there is none, or it is of a type that a detector's constants never have.
        """
        value = self._value(key, _ATTR_TENSOR)
        if value is None:
            raise ConvertError(f"node {self.name} ({self.op}): expected a tensor in attribute {key}, found none")
        return _tensor(_as_bytes(value, self.name), self.name)

    def _value(self, key: str, kind: int) -> int | memoryview | None:
        """The attribute's value when it is present and of this kind. A default value (0) may be left out."""
        attribute = self._attributes.get(key)
        if attribute is None:
            return None
        for number, _, value in _fields(attribute, self.name):
            if number == kind:
                return value
        return None


def read_graph(content: bytes) -> dict[str, Node]:
    """Read a frozen graph: its nodes by name, in the file's order.

    Raises:
        ConvertError: the bytes are no GraphDef.
    """
    nodes: dict[str, Node] = {}
    for number, wire, value in _fields(memoryview(content), "graph"):
        if number == _GRAPH_NODE and wire == _BYTES:
            node = _node(_as_bytes(value, "graph"))
            nodes[node.name] = node
    if not nodes:
        raise ConvertError(f"graph: expected a GraphDef, found {len(content)} bytes without a node")
    return nodes


def _node(content: memoryview) -> Node:
    name = op = ""
    inputs: list[str] = []
    attributes: dict[str, memoryview] = {}
    for number, wire, value in _fields(content, "node"):
        if wire != _BYTES:
            continue
        item = _as_bytes(value, "node")
        if number == _NODE_NAME:
            name = bytes(item).decode("utf-8", "replace")
        elif number == _NODE_OP:
            op = bytes(item).decode("utf-8", "replace")
        elif number == _NODE_INPUT:
            inputs.append(bytes(item).decode("utf-8", "replace"))
        elif number == _NODE_ATTRIBUTE:
            entry = {key: part for key, _, part in _fields(item, "attribute")}
            key = bytes(_as_bytes(entry.get(_ENTRY_KEY, memoryview(b"")), "attribute")).decode("utf-8", "replace")
            attributes[key] = _as_bytes(entry.get(_ENTRY_VALUE, memoryview(b"")), "attribute")
    if not name or not op:
        raise ConvertError("graph: expected every node to have a name and an op, found one without: no GraphDef?")
    return Node(name, op, tuple(name for name in inputs if not name.startswith("^")), attributes)


def _tensor(content: memoryview, where: str) -> Array:
    data_type, raw = 0, memoryview(b"")
    shape: tuple[int, ...] = ()
    values: list[Array] = []
    for number, wire, value in _fields(content, where):
        if number == _TENSOR_TYPE:
            data_type = _as_number(value, where)
        elif number == _TENSOR_SHAPE:
            shape = _shape(_as_bytes(value, where), where)
        elif number == _TENSOR_CONTENT:
            raw = _as_bytes(value, where)
        elif number in _VALUE_FIELDS:
            values.append(_listed_values(number, wire, value, where))
    dtype = _DATA_TYPES.get(data_type)
    if dtype is None:
        raise ConvertError(f"node {where}: expected a tensor of float, double, int32 or int64, found type {data_type}")
    listed = np.concatenate(values).astype(dtype) if values else np.zeros(0, dtype)
    count = math.prod(shape)
    if count > _MAX_VALUES:
        raise ConvertError(f"node {where}: expected at most {_MAX_VALUES} values in a tensor, found shape {shape}")
    return _filled(_numbers(raw, dtype, where) if len(raw) else listed, count, where).reshape(shape)


def _filled(flat: Array, count: int, where: str) -> Array:
    """The tensor's values; a list shorter than the tensor means that its last value is repeated (tensor.proto)."""
    if flat.size == count:
        result = flat
    elif count and 0 < flat.size < count:
        result = np.concatenate([flat, np.full(count - flat.size, flat[-1])])
    elif count and not flat.size:
        result = np.zeros(count, flat.dtype)
    else:
        raise ConvertError(f"node {where}: expected {count} values in the tensor, found {flat.size}")
    result.flags.writeable = False
    return result


def _listed_values(number: int, wire: int, value: int | memoryview, where: str) -> Array:
    encoding = _VALUE_FIELDS[number]
    if encoding == "varint":
        return np.array(_varints(value, wire, where), np.int64)
    return _numbers(_as_bytes(value, where), np.dtype(encoding), where)


def _numbers(content: memoryview, dtype: np.dtype[Any], where: str) -> Array:
    if not len(content) or len(content) % dtype.itemsize:
        raise ConvertError(f"{where}: expected numbers of {dtype.itemsize} bytes, found {len(content)} bytes")
    return np.frombuffer(content, dtype)


def _shape(content: memoryview, where: str) -> tuple[int, ...]:
    sizes: list[int] = []
    for number, _, dimension in _fields(content, where):
        if number == _SHAPE_DIMENSION:
            found = [item for key, _, item in _fields(_as_bytes(dimension, where), where) if key == _DIMENSION_SIZE]
            sizes.append(_signed(_as_number(found[0], where)) if found else 0)
    if any(size < 0 for size in sizes):
        raise ConvertError(f"node {where}: expected a constant of known shape, found {sizes}")
    return tuple(sizes)


def _fields(content: memoryview, where: str) -> Iterator[_Field]:
    """The fields of one protobuf message: number, wire type, value."""
    position = 0
    while position < len(content):
        tag, position = _varint(content, position, where)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, position = _varint(content, position, where)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, position = _varint(content, position, where)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ConvertError(f"{where}: expected protobuf wire type 0, 1, 2 or 5, found {wire}: no GraphDef?")
        if position + size > len(content):
            raise ConvertError(f"{where}: expected {size} bytes, found {len(content) - position}: cut short?")
        yield number, wire, content[position : position + size]
        position += size


def _varint(content: memoryview, position: int, where: str) -> tuple[int, int]:
    result = 0
    for index, byte in enumerate(content[position : position + _MAX_VARINT_BYTES]):
        result |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, position + index + 1
    raise ConvertError(f"{where}: expected a whole number, found it cut short or endless: no GraphDef?")


def _varints(value: int | memoryview, wire: int, where: str) -> list[int]:
    """One number, or the packed list of them."""
    if wire == _VARINT:
        return [_signed(_as_number(value, where))]
    content, position, found = _as_bytes(value, where), 0, []
    while position < len(content):
        number, position = _varint(content, position, where)
        found.append(_signed(number))
    return found


def _signed(number: int) -> int:
    """A 64-bit two's complement number, as protobuf sends negative ones."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _as_number(value: int | memoryview, where: str) -> int:
    if not isinstance(value, int):
        raise ConvertError(f"{where}: expected a number, found {len(value)} bytes: no GraphDef?")
    return value


def _as_bytes(value: int | memoryview, where: str) -> memoryview:
    if isinstance(value, int):
        raise ConvertError(f"{where}: expected bytes, found the number {value}: no GraphDef?")
    return value


def _given(node: Node, key: str, default: _T | None) -> _T:
    if default is None:
        raise ConvertError(f"node {node.name} ({node.op}): expected attribute {key}, found none")
    return default
