"""Pictures to compare models on: some, evenly spread over a video or a folder."""

from __future__ import annotations

from pathlib import Path

from edgeapp.errors import CaptureError, CompareError
from edgeapp.measure.frames import pictures
from edgeapp.vision.formats import Picture
from edgeapp.workshop.frame_sets import spread

_WHOLE = (1 << 16, 1 << 16)  # larger than any picture: none is decoded reduced


def some_pictures(source: Path, most: int) -> list[tuple[str, Picture]]:
    """At most so many pictures, uint8 [height, width, 3], BGR, with their file name or the number of their frame.

    Raises:
        CompareError: there is none, or they cannot be read.
    """
    try:
        chosen = set(spread([key for key, _ in pictures(source, _WHOLE)], most))
        found = [(key, picture) for key, picture in pictures(source, _WHOLE) if key in chosen]
    except CaptureError as error:
        raise CompareError(f"{source}: expected a video or a folder of pictures, found: {error}") from error
    if not found:
        raise CompareError(f"{source}: expected a video or a folder of pictures, found no picture in it")
    return [(key if isinstance(key, str) else f"frame {key}", picture) for key, picture in found]
