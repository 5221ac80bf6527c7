"""What runs in a converter's own environment: it converts, and asks the original framework for answers to check with.

    PYTHON -c "$(cat converter_child.py)" onnx2tf|litert-torch|tensorflow MODEL FOLDER [SHAPE]

A program of its own, with nothing of edgeapp in it, since that environment has other packages and maybe another Python.
It leaves in FOLDER a `*_float32.tflite` (tensorflow is asked only) and `original.npz`: `input` [cases, *shape] and
`output.NAME` [cases, *shape], what the original gives for noise; or `unchecked`, which says why there are none.
SHAPE replaces what an ONNX file says of its input. Status 3: the converter is not there; 4: SHAPE is wanted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ABSENT, SHAPE_WANTED = 3, 4
ORIGINAL, UNCHECKED = "original.npz", "unchecked"
CUT = "cut.json"  # of a frozen graph: input_node, input_shape, outputs
_CASES = 4

Answers = dict[str, Any]
Original = tuple[list[int], Callable[[Any], Answers]]
"""The shape of the only input, and what gives the outputs by name for one."""


class _ShapeWanted(Exception):
    """A converted model has no open sizes: devices have all their memory before the first frame."""


def _onnx2tf(model: Path, folder: Path, shape: list[int]) -> Callable[[], Original]:
    import numpy
    import onnx
    import onnx2tf

    loaded = onnx.load(str(model))
    graph = loaded.graph
    constants = {each.name for each in graph.initializer}
    source = next(each for each in graph.input if each.name not in constants)
    dimensions = source.type.tensor_type.shape.dim
    told = [size.dim_value for size in dimensions]  # open: 0, or less
    shape = shape or [max(told[0], 1), *told[1:]]  # a batch of any size is one
    if min(shape) < 1 or len(shape) != len(told):
        sizes = ", ".join(str(size) if size > 0 else "?" for size in told)
        raise _ShapeWanted(f"--input-shape: expected the sizes of {source.name!r}, which are [{sizes}]")
    for node in graph.node:
        node.name = re.sub("[^A-Za-z0-9._/-]", "_", node.name)  # TensorFlow knows no others, and names say nothing
    if shape != told:
        for size, wanted in zip(dimensions, shape, strict=True):
            size.dim_value = wanted
        for each in (*graph.output, *graph.value_info):  # what follows from the open sizes is found anew
            each.type.tensor_type.ClearField("shape")
    model = folder / "ready.onnx"
    onnx.save(loaded, str(model))
    # It checks each operator on sample pictures, which it fetches unverified where this folder has none.
    samples = numpy.random.default_rng(0).uniform(0, 1, (20, 128, 128, 3)).astype("float32")
    numpy.save("calibration_image_sample_data_20x128x128x3_float32.npy", samples)
    onnx2tf.convert(input_onnx_file_path=str(model), output_folder_path=str(folder), non_verbose=True)

    def original() -> Original:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        (source,) = session.get_inputs()
        names = [output.name for output in session.get_outputs()]
        return shape, lambda values: dict(zip(names, session.run(names, {source.name: values}), strict=True))

    return original


def _litert_torch(model: Path, folder: Path, _: list[int]) -> Callable[[], Original]:
    import litert_torch
    import torch

    program = torch.export.load(str(model))
    module, (arguments, named) = program.module(), program.example_inputs
    pictures = [place for place, each in enumerate(arguments) if each.ndim == 4]
    # PyTorch has channels first, devices have pictures as they come: channels last.
    last = litert_torch.to_channel_last_io(module, args=pictures) if pictures else module
    given = tuple(each.permute(0, 2, 3, 1) if each.ndim == 4 else each for each in arguments)
    litert_torch.convert(last, given, named).export(str(folder / "model_float32.tflite"))

    def original() -> Original:
        (example,) = arguments
        if named:
            raise ValueError(f"expected one input, found {', '.join(named)} besides")

        def run(values: Any) -> Answers:
            with torch.no_grad():
                found = module(torch.from_numpy(values))
            each = found.values() if isinstance(found, dict) else found if isinstance(found, (tuple, list)) else [found]
            return {str(place): output.numpy() for place, output in enumerate(each)}

        return list(example.shape), run

    return original


def _tensorflow(model: Path, folder: Path, _: list[int]) -> Callable[[], Original]:
    import tensorflow

    def original() -> Original:
        cut = json.loads((folder / CUT).read_text())
        definition = tensorflow.compat.v1.GraphDef()
        definition.ParseFromString(model.read_bytes())
        with tensorflow.Graph().as_default() as graph:
            source = tensorflow.compat.v1.placeholder(tensorflow.float32, cut["input_shape"])
            nodes = [f"{node}:0" for node in cut["outputs"].values()]
            given = {f"{cut['input_node']}:0": source}
            outputs = tensorflow.import_graph_def(definition, given, nodes, name="")
        session = tensorflow.compat.v1.Session(graph=graph)
        return cut["input_shape"], lambda values: dict(
            zip(cut["outputs"], session.run(outputs, {source: values}), strict=True)
        )

    return original


CONVERTERS = {"onnx2tf": _onnx2tf, "litert-torch": _litert_torch, "tensorflow": _tensorflow}


def _ask(original: Callable[[], Original], folder: Path) -> None:
    import numpy

    shape, run = original()
    inputs = numpy.random.default_rng(0).uniform(0, 1, (_CASES, *shape)).astype("float32")
    answers = [run(values) for values in inputs]
    outputs = {f"output.{name}": numpy.stack([one[name] for one in answers]) for name in answers[0]}
    numpy.savez(folder / ORIGINAL, input=inputs, **outputs)


def main() -> int:
    name, model, folder, *rest = sys.argv[1:]
    shape = [int(size) for size in rest[0].split(",")] if rest else []
    try:
        original = CONVERTERS[name](Path(model), Path(folder), shape)
    except ImportError as error:
        print(error, file=sys.stderr)
        return ABSENT
    except _ShapeWanted as error:
        print(error, file=sys.stderr)
        return SHAPE_WANTED
    try:
        _ask(original, Path(folder))
    except Exception as error:  # whatever the original framework has against it: the model is converted all the same
        (Path(folder) / UNCHECKED).write_text(f"{type(error).__name__}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
