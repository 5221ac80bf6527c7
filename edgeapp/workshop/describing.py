"""What the outputs of a model most likely mean, by their shapes, pure.

Owns the guess that `edgeapp-workshop describe` starts from. Shapes tell which of the known decoders fits, and which
tensor has which part in it; how pixels become numbers, and whether scores are logits, they do not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeapp.errors import ConvertError
from edgeapp.manifest import OutputSpec, SsdAnchors
from edgeapp.vision.boxes import anchor_count

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
_BOX = 4  # numbers
_KNOWN = (
    "a classifier [1, classes], SSD heads [1, anchors, 4] and [1, anchors, classes], TFLite_Detection_PostProcess "
    "[1, n, 4], [1, n], [1, n] and [1], or a YOLO head [1, 4 or 5 + classes, n]; with one column more for a background"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a person says of the outputs. `tensors`: by role, where shapes do not tell which is which."""

    classes: int
    activation: str = "none"
    tensors: Mapping[str, str]
    anchors: tuple[int, ...] = ()


def guess_output(outputs: Shapes, told: Told) -> OutputSpec:
    """What the output tensors mean.

    Raises:
        ConvertError: no known decoder fits, or several would; the text says what is needed.
    """
    for guess in (_classifier, _yolo, _ssd_raw, _ssd_postprocess):
        found = guess(outputs, told)
        if found is not None:
            return found
    listed = ", ".join(f"{name} {list(shape)}" for name, shape in outputs.items())
    raise ConvertError(f"expected outputs of {_KNOWN}; found, for {told.classes} classes: {listed}")


def roles_of(spec: OutputSpec, outputs: Shapes, told: Told) -> dict[str, str]:
    """Which tensor of another build of a model has which role: by name where the names are the same, else by shape.

    Raises:
        ConvertError: as `guess_output`, or the shapes fit another decoder.
    """
    if set(spec.tensors.values()) <= set(outputs):
        return dict(spec.tensors)
    found = guess_output(outputs, told)
    if found.decoder != spec.decoder:
        raise ConvertError(f"expected outputs for decoder {spec.decoder}, found those of {found.decoder}")
    return found.tensors


def _classifier(outputs: Shapes, told: Told) -> OutputSpec | None:
    if len(outputs) != 1:
        return None
    ((name, shape),) = outputs.items()
    background = _background(shape[-1], told) if len(shape) == 2 or shape[:-1] == (1, 1, 1) else None
    if background is None:
        return None
    return OutputSpec(
        decoder="classifier",
        tensors={"scores": name},
        background=background,  # type: ignore[arg-type]
        activation=told.activation,  # type: ignore[arg-type]
    )


def _yolo(outputs: Shapes, told: Told) -> OutputSpec | None:
    if len(outputs) != 1:
        return None
    ((name, shape),) = outputs.items()
    if len(shape) != 3 or not {_BOX + told.classes, _BOX + 1 + told.classes} & set(shape[1:]):
        return None
    return OutputSpec(decoder="yolo", tensors={"predictions": name}, activation=told.activation)  # type: ignore[arg-type]


def _ssd_raw(outputs: Shapes, told: Told) -> OutputSpec | None:
    if len(outputs) != 2 or any(len(shape) != 3 for shape in outputs.values()):
        return None
    roles = dict(told.tensors) or {
        "boxes" if shape[-1] == _BOX and _background(_BOX, told) is None else "scores": name
        for name, shape in outputs.items()
    }
    if set(roles) != {"boxes", "scores"}:
        raise ConvertError("expected --tensor boxes=NAME --tensor scores=NAME, since both outputs have 4 columns")
    count, columns = outputs[roles["scores"]][1:]
    background = _background(columns, told)
    if background is None:
        return None
    if not told.anchors:
        raise ConvertError(
            f"SSD heads with {count} anchors: expected --anchors with the sizes of the feature maps, such as "
            "19,10,5,3,2,1 for 300 x 300 pixels"
        )
    anchors = SsdAnchors(layers=told.anchors)
    if anchor_count(anchors) != count:
        raise ConvertError(
            f"--anchors: expected sizes that give the {count} anchors of the outputs, found {anchor_count(anchors)}; "
            "scales and aspect ratios of another grid can be written into model.json"
        )
    return OutputSpec(
        decoder="ssd_raw",
        tensors=roles,
        background=background,  # type: ignore[arg-type]
        activation=told.activation,  # type: ignore[arg-type]
        anchors=anchors,
    )


def _ssd_postprocess(outputs: Shapes, told: Told) -> OutputSpec | None:
    if sorted(len(shape) for shape in outputs.values()) != [1, 2, 2, 3]:
        return None
    by_rank = {len(shape): name for name, shape in outputs.items()}
    roles = {"boxes": by_rank[3], "count": by_rank[1], **told.tensors}
    if set(roles) != {"boxes", "count", "classes", "scores"}:
        two = ", ".join(name for name, shape in outputs.items() if len(shape) == 2)
        raise ConvertError(
            f"TFLite_Detection_PostProcess: expected --tensor classes=NAME --tensor scores=NAME to tell {two} apart: "
            "classes are whole numbers"
        )
    return OutputSpec(decoder="ssd_postprocess", tensors=roles)


def _background(columns: int, told: Told) -> str | None:
    """Where the background's column is, if that many columns fit the classes."""
    return {told.classes: "none", told.classes + 1: "first"}.get(columns)
