"""What the eyes tell of one picture besides its pixels, and the words for the light; pure.

On their pipe stand, for each picture, a HEAD with the bytes of JSON and of JPEG, a Look as JSON, and the JPEG.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass

from edgeapp.document import compact_json

HEAD = struct.Struct(">II")
_DIM_LUMA, _BRIGHT_LUMA = 60.0, 190.0  # of 255; the middle grey that cameras aim for is about 118
_CLIPPED_PCT = 20.0


@dataclass(frozen=True, slots=True)
class Light:
    """How bright the picture is where no mask covers it: the mean luma, 0 to 255, and how much of it is black (luma 4
    or less) and white (251 or more), 0 to 100 %."""

    mean: float
    black_pct: float
    white_pct: float
    text: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One detection, with its class's name. `box`: x and y of two corners, in shares of the picture."""

    name: str
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """One picture, judged. Without a picture, `size` is (0, 0) and `error` says why.

    `focus` is the variance of the Laplacian (see quality.py). `fps` is how many pictures are looked at each second,
    `source_fps` how many the camera gives.
    """

    size: tuple[int, int] = (0, 0)
    detections: tuple[Seen, ...] = ()
    focus: float = 0.0
    light: Light | None = None
    fps: float = 0.0
    source_fps: float = 0.0
    invoke_ms: float | None = None
    camera: str = ""
    error: str = ""
    model: str = ""
    model_error: str = ""

    def as_json(self) -> bytes:
        return compact_json(dataclasses.asdict(self))


def light_text(light: Light) -> str:
    """What a person should know of the light, in a few words."""
    if light.black_pct > _CLIPPED_PCT and light.white_pct > _CLIPPED_PCT:
        return "strong contrast: a window or a lamp shines into the camera"
    if light.white_pct > _CLIPPED_PCT:
        return "too bright: part of the picture is plain white"
    if light.black_pct > _CLIPPED_PCT:
        return "dark: part of the picture is plain black"
    if light.mean < _DIM_LUMA:
        return "dim"
    return "bright" if light.mean > _BRIGHT_LUMA else "good"
