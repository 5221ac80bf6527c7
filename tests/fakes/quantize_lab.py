"""A classifier of colours whose int8 form fails because of one tensor, and pictures with known colours.

What is planted: a first convolution gives red, green, blue and a fourth channel that is 400 times their sum and that no
later layer uses. One range for the whole tensor leaves the three colours about one quantization step together: int8
sees nothing any more, however it was calibrated. Float32 in the two layers that touch the tensor mends it.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeapp.manifest import InputSpec, Manifest, OutputSpec
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.tflite_file import ModelBuilder

COLOURS = ("red", "green", "blue")
_BGR = ((40, 40, 230), (40, 230, 40), (230, 40, 40))
_SIDE = 16
_USELESS = 400.0
_GAIN = 20.0


def make_colour_model(folder: Path) -> Path:
    """Write the float32 model folder and return it."""
    folder.mkdir(parents=True)
    builder = ModelBuilder()
    source = builder.activation("image", [1, _SIDE, _SIDE, 3])
    spread = np.vstack([np.eye(3), np.full((1, 3), _USELESS)])
    wide = _convolution(builder, "wide", source, spread)
    narrow = _convolution(builder, "narrow", wide, np.hstack([_GAIN * np.eye(3), np.zeros((3, 1))]))
    axes, mean = builder.constant("axes", np.array([1, 2], np.int32)), builder.activation("mean", [1, 3])
    builder.operator("MEAN", [narrow, axes], mean, ("ReducerOptions", schema.ReducerOptionsT()))
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    scores = builder.activation("scores", [1, 3])
    builder.operator("SOFTMAX", [mean], scores, ("SoftmaxOptions", options))
    (folder / "model.tflite").write_bytes(builder.finish({"image": source}, {"scores": scores}, "colours"))
    write_manifest(
        folder,
        Manifest(
            name="colours",
            version=1,
            model=describe_file(folder / "model.tflite"),
            task="classification",
            classes=COLOURS,
            input=InputSpec(width=_SIDE, height=_SIDE),
            output=OutputSpec(decoder="classifier", tensors={"scores": "scores"}),
        ),
    )
    return folder


def _convolution(builder: ModelBuilder, name: str, source: int, weights: np.ndarray) -> int:
    """One by one: `weights` [outputs, inputs]."""
    kernel = builder.constant(f"{name}/weights", weights[:, None, None, :].astype(np.float32))
    bias = builder.constant(f"{name}/bias", np.zeros(len(weights), np.float32))
    output = builder.activation(name, [1, _SIDE, _SIDE, len(weights)])
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    builder.operator("CONV_2D", [source, kernel, bias], output, ("Conv2DOptions", options))
    return output


def write_pictures(folder: Path, *, count: int = 30, brightness: float = 1.0) -> Path:
    """Pictures of one colour each, by turns, with noise; `brightness` 0.03 is near black."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(count):
        even = np.full((48, 48, 3), _BGR[number % 3], np.float64) * random.uniform(0.7, 1.0)
        picture = np.clip((even + random.normal(0, 10, even.shape)) * brightness, 0, 255)
        cv2.imwrite(str(folder / f"{number:03}.png"), picture.astype(np.uint8))
    return folder


def write_labels(path: Path, *, count: int = 30) -> Path:
    """The colours of `write_pictures`."""
    images = [{"id": n, "file_name": f"{n:03}.png", "width": 48, "height": 48} for n in range(count)]
    annotations = [{"image_id": n, "category_id": n % 3} for n in range(count)]
    categories = [{"id": n, "name": name} for n, name in enumerate(COLOURS)]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
