"""What kind of model file it is, by its first bytes and not by its name; pure.

A frozen graph (GraphDef, tensorflow/core/framework/graph.proto) is a list of nodes, field 1 as bytes. An ONNX file
(ModelProto, onnx/onnx.proto) begins with its version, field 1 as a number. PyTorch writes zip archives, whose members
tell an exported program, which is data, from a pickle, which is code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal["frozen graph", "onnx", "exported program", "pickle", "torchscript", "tflite", "hdf5", "unknown"]

_GRAPH_NODE, _ONNX_VERSION = 0x0A, 0x08
_ZIP, _HDF5, _TFLITE = b"PK\x03\x04", b"\x89HDF\r\n", b"TFL3"

HINTS: dict[Kind, str] = {
    "pickle": "weights or a pickled module, which run code when they are read: torch.export.save() the module instead",
    "torchscript": "TorchScript: torch.export.save() the module instead",
    "tflite": "a .tflite file, which needs no conversion",
    "hdf5": "a Keras model: export it to ONNX, or convert it with TensorFlow",
    "unknown": "something else",
}


def kind_of(head: bytes, members: Sequence[str] = ()) -> Kind:
    """The kind of a file that begins with `head` (16 bytes do). `members`: of a zip archive, what is in it."""
    if head.startswith(_ZIP):
        names = {name.rpartition("/")[2] for name in members}
        if "constants.pkl" in names and any("/code/" in name for name in members):
            return "torchscript"
        if names & {"archive_format", "serialized_exported_program.json"} or any(
            name.endswith("models/model.json") for name in members
        ):
            return "exported program"
        return "pickle" if "data.pkl" in names else "unknown"
    if head[4:8] == _TFLITE:
        return "tflite"
    if head.startswith(_HDF5):
        return "hdf5"
    if head[:1] == bytes([_GRAPH_NODE]):
        return "frozen graph"
    return "onnx" if head[:1] == bytes([_ONNX_VERSION]) else "unknown"
