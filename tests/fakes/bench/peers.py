"""Other ways to run the demo's detector, for scripts/bench --peers: MediaPipe Tasks, and a loop as examples have it.

MediaPipe lives in an environment of its own, installed from mediapipe.lock (every package pinned by hash) and kept in
the cache. It takes neither an int8 input or output nor weights behind the flatbuffer: so it is given the same graph
with one QUANTIZE from uint8 before it and a DEQUANTIZE after each output, the buffers moved inside. On the demo's
frames it then finds the same people.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgeapp.errors import FetchError
from edgeapp.vision.boxes import make_anchors
from edgeapp.vision.model import Model
from edgeapp.workshop.progress import Progress
from tests.fakes.bench.ways import Picture, Sample, Way

_HERE = Path(__file__).parent
_LOCK = _HERE / "mediapipe.lock"
_MARK = "installed"


def example_loop(model: Path, pictures: list[Picture]) -> Way:
    """A loop as published examples write it: colour at full size, NumPy for the quantization, names looked up."""
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    frames = cycle(pictures)

    def infer() -> list[tuple[float, list[float]]]:
        source = interpreter.get_input_details()[0]
        boxes, scores = interpreter.get_output_details()
        _, height, width, _ = source["shape"]
        picture = cv2.resize(cv2.cvtColor(next(frames), cv2.COLOR_BGR2RGB), (width, height))
        values = (np.expand_dims(picture, axis=0).astype(np.float32) - 127.5) / 127.5
        scale, zero_point = source["quantization"]
        interpreter.set_tensor(source["index"], np.clip(values / scale + zero_point, -128, 127).astype(np.int8))
        interpreter.invoke()
        found = []
        for detail in (boxes, scores):
            scale, zero_point = detail["quantization"]
            found.append((interpreter.get_tensor(detail["index"])[0].astype(np.float32) - zero_point) * scale)
        people = zip(found[1][:, 1].tolist(), found[0].tolist(), strict=True)
        return [(score, box) for score, box in people if score > 0.5]

    return infer


class MediaPipe:
    """MediaPipe's detector in its process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def measure(self, frames: int) -> Sample:
        """Infer so many frames.

        Raises:
            FetchError: MediaPipe failed; it has said why on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{frames}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise FetchError("mediapipe: expected its times, found that it ended")
        wall_ms, cpu_ms, p50_ms, p99_ms, _ = json.loads(line)
        return Sample(wall_ms, cpu_ms, p50_ms, p99_ms)


@contextmanager
def mediapipe(python: Path, model: Model, model_path: Path, frames_path: Path, scratch: Path) -> Iterator[MediaPipe]:
    """Start MediaPipe on the model and the frames."""
    anchors, file = scratch / "anchors.npy", scratch / "mediapipe.tflite"
    spec = model.manifest.output.anchors
    assert spec is not None, "the demo's detector has anchors"
    np.save(anchors, make_anchors(spec))
    file.write_bytes(with_plain_ends(model_path.read_bytes()))
    command = [str(python), str(_HERE / "mediapipe_loop.py"), str(file), str(anchors), str(frames_path)]
    with (scratch / "mediapipe.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield MediaPipe(process)
    finally:
        process.kill()
        process.wait()


def prepare_mediapipe(cache: Path, progress: Progress) -> Path:
    """A Python that has MediaPipe; made when the cache does not hold it.

    Raises:
        FetchError: pip cannot install it.
    """
    step = "install MediaPipe"
    key = hashlib.sha256(_LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache / "mediapipe" / key
    python = folder / "bin" / "python"
    if not (folder / _MARK).exists():
        progress(step, 0.0)
        venv.create(folder, with_pip=True, symlinks=True, clear=True)
        options = ["--disable-pip-version-check", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        command = [str(python), "-m", "pip", "install", *options, "--requirement", str(_LOCK)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise FetchError(f"mediapipe: expected pip to install it, found: {' '.join(done.stderr.split())[-400:]}")
        (folder / _MARK).touch()
        progress(step, 1.0)
    return python


def with_plain_ends(content: bytes) -> bytes:
    """An int8 model file with uint8 input and float32 outputs, and with every buffer inside the flatbuffer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    graph = model.subgraphs[0]
    (source,) = graph.inputs
    quantization = schema.QuantizationParametersT()
    quantization.scale = graph.tensors[source].quantization.scale
    quantization.zeroPoint = [int(graph.tensors[source].quantization.zeroPoint[0]) + 128]
    graph.inputs = [_add_tensor(graph, int(source), schema.TensorType.UINT8, quantization)]
    graph.operators.insert(0, _operator(model, "QUANTIZE", graph.inputs[0], int(source)))
    ends = [_add_tensor(graph, int(end), schema.TensorType.FLOAT32, None) for end in graph.outputs]
    for inner, outer in zip(graph.outputs, ends, strict=True):
        graph.operators.append(_operator(model, "DEQUANTIZE", int(inner), outer))
    graph.outputs, model.signatureDefs = ends, []
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _add_tensor(graph: Any, like: int, kind: int, quantization: Any) -> int:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = graph.tensors[like].name + b"/outer", graph.tensors[like].shape
    tensor.type, tensor.quantization, tensor.buffer = kind, quantization, 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _operator(model: Any, name: str, source: int, target: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = 2  # the first that knows int8
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [source], [target]
    options = f"{name.capitalize()}Options"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
    operator.builtinOptions = getattr(schema, f"{options}T")()
    return operator
