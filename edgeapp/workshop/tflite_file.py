"""A .tflite file as an object tree: building one, reading one, naming its signature.

Owns the flatbuffer details (buffers, operator codes, alignment, signatures). Which operators a model is made of is
`convert.py`'s. The same calls in the same order give the same bytes.

Format: tensorflow/lite/schema/schema.fbs, through the classes that ai-edge-litert generates from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgeapp.errors import ConvertError

SIGNATURE_KEY = "serving_default"
_FILE_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_IDENTIFIER_OFFSET = 4
_BUFFER_ALIGNMENT = 16  # schema.fbs: force_align of Buffer.data
_MAX_DEPRECATED_CODE = 127  # PLACEHOLDER_FOR_GREATER_OP_CODES
_TENSOR_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the generated classes have no types
    """A buffer whose data starts on a multiple of 16 bytes, which the generated `Pack` forgets."""

    def Pack(self, builder: Any) -> Any:
        if self.data is not None:
            builder.Prep(_BUFFER_ALIGNMENT, len(self.data))
        return super().Pack(builder)


class ModelBuilder:
    """Collects tensors and operators of one graph in order of execution."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [_AlignedBuffer()]  # buffer 0 is the empty one, by the format
        self._operators: list[Any] = []
        self._codes: list[int] = []

    def activation(self, name: str, shape: Sequence[int]) -> int:
        """Add a float32 tensor that is computed; returns its index."""
        return self._tensor(name, shape, schema.TensorType.FLOAT32, 0)

    def constant(self, name: str, values: npt.NDArray[Any]) -> int:
        """Add a float32 or int32 tensor with values; returns its index."""
        buffer = _AlignedBuffer()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self._tensor(name, values.shape, _TENSOR_TYPES[values.dtype], len(self._buffers) - 1)

    def _tensor(self, name: str, shape: Sequence[int], tensor_type: int, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [int(size) for size in shape], tensor_type, buffer
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def operator(self, name: str, inputs: Sequence[int], output: int, options: tuple[str, Any] | None = None) -> None:
        """Add an operator by its name in BuiltinOperator, with the name in BuiltinOptions and the options."""
        code = getattr(schema.BuiltinOperator, name)
        if code not in self._codes:
            self._codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
            operator.builtinOptions = options[1]
        self._operators.append(operator)

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int], description: str) -> bytes:
        """The file's bytes. The tensors and the signature of the file's ends get these names."""
        for name, index in [*inputs.items(), *outputs.items()]:
            self._tensors[index].name = name
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, description
        model.subgraphs, model.buffers = [graph], self._buffers
        model.operatorCodes = [_operator_code(code) for code in self._codes]
        model.signatureDefs = [_signature(inputs, outputs)]
        return pack(model)


def operator_names(content: bytes) -> tuple[str, ...]:
    """The names of all operators in order, a custom operator by its own name.

    Raises:
        ConvertError: the bytes are no .tflite file.
    """
    model = unpack(content)
    codes = operator_codes(model)
    return tuple(codes[operator.opcodeIndex] for graph in model.subgraphs for operator in graph.operators or [])


def operator_codes(model: Any) -> list[str]:
    """The names that the operators' `opcodeIndex` stands for in an object tree."""
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    codes = []
    for code in model.operatorCodes:
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        is_custom = number == schema.BuiltinOperator.CUSTOM and code.customCode
        codes.append(text(code.customCode) if is_custom else names[number])
    return codes


def with_signature(content: bytes) -> bytes:
    """The same model with a signature; unchanged where it has one. The names are those of the tensors.

    Raises:
        ConvertError: the bytes are no .tflite file.
    """
    model = unpack(content)
    if model.signatureDefs:
        return content
    graph = model.subgraphs[0]

    def named(indices: Sequence[int]) -> dict[str, int]:
        return {text(graph.tensors[index].name).replace(":", "_"): int(index) for index in indices}

    model.signatureDefs = [_signature(named(graph.inputs), named(graph.outputs))]
    return pack(model)


def unpack(content: bytes) -> Any:
    """The object tree of a file (a ModelT of the generated schema), all its data inside.

    Raises:
        ConvertError: the bytes are no .tflite file.
    """
    if content[_IDENTIFIER_OFFSET : _IDENTIFIER_OFFSET + len(_FILE_IDENTIFIER)] != _FILE_IDENTIFIER:
        found = content[:8]
        raise ConvertError(f"expected a .tflite file ({_FILE_IDENTIFIER!r} at byte 4), found {found!r}")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
        for buffer in model.buffers:
            if buffer.offset > 1:  # schema.fbs: the data stands after the flatbuffer, where packing anew loses it
                buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    except Exception as error:  # the generated reader checks nothing: a torn file ends in any of many errors
        raise ConvertError(f"expected a whole .tflite file, found {len(content)} bytes that end too early") from error
    return model


def pack(model: Any) -> bytes:
    """The file of an object tree."""
    for index, buffer in enumerate(model.buffers):
        if type(buffer) is schema.BufferT:
            aligned = _AlignedBuffer(buffer.data, buffer.offset, buffer.size)
            model.buffers[index] = aligned
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), _FILE_IDENTIFIER)
    return bytes(builder.Output())


def _operator_code(code: int) -> Any:
    result = schema.OperatorCodeT()
    result.builtinCode, result.deprecatedBuiltinCode = code, min(code, _MAX_DEPRECATED_CODE)
    result.version = 1
    return result


def _signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE_KEY, 0
    signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
    signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
    return signature


def _tensor_map(name: str, index: int) -> Any:
    result = schema.TensorMapT()
    result.name, result.tensorIndex = name, index
    return result


def text(value: bytes | str) -> str:
    """A name as the generated classes give it."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
