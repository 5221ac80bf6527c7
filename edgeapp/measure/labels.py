"""Reads labels, pure: COCO's JSON, as far as accuracy needs it; keys beyond that are passed over.

    {"images": [{"id", "width", "height", "file_name" or "frame"}],
     "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "iscrowd"?}],
     "categories": [{"id", "name"}]}

`file_name` is that of a picture in the folder of frames, `frame` the number, from 0, of a frame of the video.
Categories are joined to the model's classes by name; those that the model does not know are left out, since it cannot
find them. For a classifier each image has one annotation, without `bbox`. An image without annotations counts as
empty.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeapp.errors import LabelsError
from edgeapp.measure.accuracy import Label
from edgeapp.types import Box

MAX_BYTES = 64 << 20
_WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """What is in one frame: `key` is its file name, or its number in the video."""

    key: str | int
    labels: tuple[Label, ...]


def read_labels(text: bytes, classes: Sequence[str], origin: str) -> tuple[LabelledFrame, ...]:
    """The labelled frames of a document called `origin`.

    Raises:
        LabelsError: it is not of that form, or labels nothing that the model could find.
    """
    try:
        document = json.loads(text)
        names = {each["id"]: str(each["name"]) for each in document["categories"]}
        images = {each["id"]: each for each in document["images"]}
        labels: dict[Any, list[Label]] = {number: [] for number in images}
        for each in document["annotations"]:
            if names[each["category_id"]] in classes:
                index = classes.index(names[each["category_id"]])
                labels[each["image_id"]].append(_label(each, images[each["image_id"]], index))
        frames = tuple(LabelledFrame(_key(image), tuple(labels[number])) for number, image in images.items())
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RecursionError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise LabelsError(f"{origin}: expected labels in COCO's form, found {found}") from error
    if not any(frame.labels for frame in frames):
        known = f"the model's classes ({', '.join(classes[:5])})"
        raise LabelsError(
            f"{origin}: expected annotations of {known}, found none; categories: {sorted(names.values())}"
        )
    return frames


def _label(annotation: dict[str, Any], image: dict[str, Any], class_index: int) -> Label:
    if "bbox" not in annotation:
        return Label(_WHOLE, class_index)
    x, y, width, height = (float(number) for number in annotation["bbox"])
    across, down = float(image["width"]), float(image["height"])
    box = Box(x / across, y / down, (x + width) / across, (y + height) / down)
    return Label(box, class_index, bool(annotation.get("iscrowd", 0)))


def _key(image: dict[str, Any]) -> str | int:
    return int(image["frame"]) if "frame" in image else str(image["file_name"])
