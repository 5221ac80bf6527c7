"""Pictures to compare models on: some, evenly spread over a video or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edgeapp.errors import CompareError
from edgeapp.vision.formats import Picture


def some_pictures(source: Path, most: int) -> list[tuple[str, Picture]]:
    """At most so many pictures, uint8 [height, width, 3], BGR, with their file name or the number of their frame.

    Raises:
        CompareError: there is none.
    """
    count = sum(1 for _ in _numbered(source, decode=False))
    wanted = {round(at) for at in np.linspace(0, count - 1, min(most, count))} if count else set()
    found = [(name, picture) for number, (name, picture) in enumerate(_numbered(source)) if number in wanted]
    if not found:
        raise CompareError(f"{source}: expected a video or a folder of pictures, found no picture in it")
    return found


def _numbered(source: Path, *, decode: bool = True) -> Iterator[tuple[str, Picture]]:
    nothing = np.empty((0, 0, 3), np.uint8)
    if source.is_dir():
        for path in sorted(source.iterdir()):
            if cv2.haveImageReader(str(path)):
                picture = cv2.imread(str(path), cv2.IMREAD_COLOR) if decode else nothing
                if picture is None:
                    raise CompareError(f"{path}: expected a whole picture, found a torn one")
                yield path.name, np.asarray(picture, np.uint8)
        return
    capture = cv2.VideoCapture(str(source))
    try:
        number = 0
        while capture.grab():
            yield f"frame {number}", np.asarray(capture.retrieve()[1], np.uint8) if decode else nothing
            number += 1
    finally:
        capture.release()
