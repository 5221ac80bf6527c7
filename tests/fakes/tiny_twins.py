"""A tiny detector with random weights, as a float model folder and as int8 ones by the product's own quantizer.

What it detects means nothing; its layers are those of a real one (two convolutions, a depthwise one, an addition, two
heads, copies and a sigmoid), and so are the errors of its quantization.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.manifest import InputSpec, Manifest, OutputSpec, SsdAnchors
from edgeapp.vision.model import Model
from edgeapp.workshop.convert import GraphCut, convert_graph
from edgeapp.workshop.graphdef import read_graph
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.quantize import quantize_int8
from tests.fakes.frozen_graph import TinyDetector

_INPUT = InputSpec(width=8, height=8, mean=(127.5,), std=(127.5,))
_FILE = "model.tflite"

Picture = npt.NDArray[np.uint8]


def pictures(count: int, seed: int) -> list[Picture]:
    """Coloured tiles, uint8 [24, 32, 3], BGR."""
    random = np.random.default_rng(seed)
    small = [random.choice(np.array([0, 90, 255], np.uint8), (6, 8, 3)) for _ in range(count)]
    return [np.asarray(cv2.resize(one, (32, 24), interpolation=cv2.INTER_NEAREST), np.uint8) for one in small]


def make_float(folder: Path, seed: int = 0) -> Path:
    """The float model's folder."""
    detector = TinyDetector(seed)
    cut = GraphCut(
        input_node=detector.input_node, input_shape=detector.input_shape, outputs=detector.outputs
    )  # fmt: skip
    folder.mkdir(parents=True)
    (folder / _FILE).write_bytes(convert_graph(read_graph(detector.content), cut))
    _describe(folder, "float32", {role: role for role in detector.outputs})
    return folder


def make_int8(float_folder: Path, folder: Path, calibration: Sequence[Picture]) -> Path:
    """The folder of an int8 form that was calibrated on these pictures."""
    model = Model.load(float_folder)
    samples = [model.preprocess(picture) for picture in calibration]
    model.close()
    folder.mkdir(parents=True)
    quantized = quantize_int8(float_folder / _FILE, folder / _FILE, samples, input_spec=_INPUT)
    _describe(folder, "int8", dict(quantized.outputs))
    return folder


def _describe(folder: Path, quantization: str, tensors: dict[str, str]) -> None:
    anchors = SsdAnchors(layers=(4,), aspect_ratios=(1.0, 2.0, 0.5), reduce_lowest=False)
    output = OutputSpec(decoder="ssd_raw", tensors=tensors, background="first", anchors=anchors)
    write_manifest(
        folder,
        Manifest(
            name="tiny-detector",
            version=1,
            model=describe_file(folder / _FILE),
            task="detection",
            classes=("thing",),
            input=_INPUT,
            output=output,
            quantization=quantization,
        ),
    )
