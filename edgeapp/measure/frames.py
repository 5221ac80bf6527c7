"""The pictures that a model is measured on: those of a folder, by file name, or of a video, by number from 0."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgeapp.config import CameraConfig
from edgeapp.errors import LabelsError
from edgeapp.interfaces import FrameSource
from edgeapp.measure.labels import MAX_BYTES, LabelledFrame, read_labels
from edgeapp.vision.formats import Picture, Size
from edgeapp.vision.sources import open_source

Key = str | int
"""A picture's file name, or its number in the video: as labels name it."""


def open_frames(frames: Path, min_size: Size, *, loop: bool) -> FrameSource:
    """A folder or a video as the device opens it, as fast as it can be read.

    Raises:
        CaptureError: it cannot be opened.
    """
    kind: Any = "images" if frames.is_dir() else "video"
    return open_source(CameraConfig(kind=kind, source=str(frames), replay="fast", loop=loop), min_size=min_size)


def pictures(frames: Path, min_size: Size) -> Iterator[tuple[Key, Picture]]:
    """All pictures once, uint8 [height, width, 3], BGR.

    Raises:
        CaptureError: the video cannot be opened, or not be decoded.
    """
    if frames.is_dir():
        for path in sorted(frames.iterdir()):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is not None:
                yield path.name, image.view(np.uint8)
        return
    source = open_frames(frames, min_size, loop=False)
    try:
        for number in itertools.count():
            if not source.grab():
                return
            yield number, source.retrieve(None)
    finally:
        source.close()


def open_labels(labels: Path, classes: Sequence[str]) -> tuple[LabelledFrame, ...]:
    """The labelled frames of a file.

    Raises:
        LabelsError: it cannot be read, is not of COCO's form, or labels nothing that the model could find.
    """
    try:
        with labels.open("rb") as file:
            text = file.read(MAX_BYTES)
    except OSError as error:
        raise LabelsError(f"{labels}: expected a file with labels: {error.strerror}") from error
    return read_labels(text, classes, str(labels))
