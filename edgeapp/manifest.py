"""model.json, the manifest of a model folder: what the tensors mean, pure.

Owns the schema, and the text of it. A manifest describes one model file; nothing in it is measured on this
device. Both `vision` (to run the model) and the workshop (to make one) read it, so it stands below both.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from edgeapp.reader import Length, Pattern, Range
from edgeapp.types import CONFIDENCE_EDGES

MANIFEST_NAME = "model.json"
_BINS = len(CONFIDENCE_EDGES) + 1
TrackCount = Annotated[int, Range(0, 1 << 31, "tracks")]
Score = Annotated[float, Range(0.0, 1.0, "score")]
Sha256 = Annotated[str, Pattern(r"[0-9a-f]{64}", "64 hexadecimal digits")]
FileName = Annotated[str, Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "a plain file name, no folders")]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSpec:
    """One file of the model folder."""

    file: FileName
    sha256: Sha256
    size_bytes: Annotated[int, Range(1, 1 << 31, "bytes")]


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """How a picture becomes the input tensor: real value = (pixel − mean) / std, per channel or one for all."""

    width: Annotated[int, Range(8, 4096, "pixels")]
    height: Annotated[int, Range(8, 4096, "pixels")]
    colour_order: Literal["rgb", "bgr", "gray"] = "rgb"
    resize: Literal["stretch", "letterbox"] = "stretch"
    mean: Annotated[tuple[float, ...], Length(1, 3, "values")] = (0.0,)
    std: Annotated[tuple[float, ...], Length(1, 3, "values")] = (255.0,)


@dataclass(frozen=True, kw_only=True, slots=True)
class SsdAnchors:
    """The anchor grid of TensorFlow's SSD models (ssd_anchor_generator), from its parameters."""

    layers: Annotated[tuple[int, ...], Length(1, 12, "feature map sizes")]
    min_scale: Annotated[float, Range(0.0, 1.0, "share of the input")] = 0.2
    max_scale: Annotated[float, Range(0.0, 1.5, "share of the input")] = 0.95
    aspect_ratios: Annotated[tuple[float, ...], Length(1, 12, "ratios")] = (1.0, 2.0, 0.5, 3.0, 1.0 / 3.0)
    reduce_lowest: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec:
    """What the output tensors mean.

    `tensors` maps the decoder's roles to tensor names in the file. ssd_raw: boxes, scores. ssd_postprocess: boxes,
    classes, scores, count. classifier: scores. yolo: predictions. `background` says which score column, if any, is
    no class.
    """

    decoder: Literal["ssd_raw", "ssd_postprocess", "classifier", "yolo"]
    tensors: dict[str, str]
    background: Literal["first", "last", "none"] = "none"
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    box_scales: Annotated[tuple[float, ...], Length(4, 4, "scales: y, x, height, width")] = (10.0, 10.0, 5.0, 5.0)
    anchors: SsdAnchors | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenSpec:
    """Inputs with the outputs that the model gave for them where it was made, and how far a device may stray.

    `cases` is an .npz file (its form: `edgeapp.vision.golden`). A step is one quantization step of an output tensor;
    of a float one a 255th of the span of its expected values. Runtimes, delegates and processors differ by up to 20
    steps for the same model and input, so exact equality is no criterion. `min_agreement` is the share of cases in
    which the same things are detected.
    """

    cases: FileSpec
    max_steps: Annotated[int, Range(0, 255, "quantization steps")] = 24
    min_agreement: Annotated[float, Range(0.0, 1.0, "share of cases")] = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What the device uses where its configuration is silent."""

    min_score: Annotated[float, Range(0.01, 0.99, "score")] = 0.5
    nms_iou: Annotated[float, Range(0.05, 0.95, "intersection over union")] = 0.5
    max_detections: Annotated[int, Range(1, 1000, "detections")] = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """All of model.json. `classes` names the score columns in order, the background column left out.

    `expected_confidence` counts the tracks that the model gave where it was tried out, by their mean score, in the bins
    of `types.CONFIDENCE_EDGES`: what a site's own histogram is compared with. `escalate_below` says, by class, below
    which mean score a track is worth a second opinion.
    """

    name: Annotated[str, Pattern(r"[a-z0-9][a-z0-9-]{0,62}", "1 to 63 of a-z, 0-9 and -")]
    version: Annotated[int, Range(1, 1 << 31, "release number")]
    model: FileSpec
    task: Literal["detection", "classification"]
    classes: Annotated[tuple[str, ...], Length(1, 10_000, "classes")]
    input: InputSpec
    output: OutputSpec
    quantization: str = "float32"
    defaults: Defaults = field(default_factory=Defaults)
    golden: GoldenSpec | None = None
    expected_confidence: Annotated[tuple[TrackCount, ...], Length(_BINS, _BINS, "counts of tracks")] | None = None
    escalate_below: dict[str, Score] = field(default_factory=dict)


def manifest_json(manifest: Manifest) -> str:
    """model.json's text: the keys in the order of the fields; what is None, and so not there, is left out."""
    return json.dumps(without_none(dataclasses.asdict(manifest)), indent=2, ensure_ascii=False) + "\n"


def without_none(value: Any) -> Any:
    """Nested dictionaries without the keys whose value is None, which stands for absent."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value
