"""What a profile holds, pure: plain values, which schemas/profile-v1.schema.json describes.

Latency is that of one whole frame (decode, preprocess, invoke, postprocess), run back to back: the load is as high as
one model can make it. What cannot be had is None: a board without a thermometer has no temperature.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from edgeapp.reader import Range
from edgeapp.types import ModelReport
from edgeapp.vision.tuning import Measured

STAGES = ("decode", "preprocess", "invoke", "postprocess")
FRAME_FIELDS = 1 + len(STAGES)  # of what the child tells of each frame: its time, then the stages
LOWER_IS_BETTER = ("_ms", "_mb", "count_error")
_DIGITS = 5  # significant ones: more would be noise


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, and the 95 % interval of its bootstrap; None where it was measured only once."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What was measured on what. `frames`: where the pictures came from; empty where they were synthetic."""

    model: ModelReport
    size_bytes: int
    board: str
    os_name: str
    cores: int
    frames: str
    measured_at: str  # ISO 8601, UTC
    edgeapp: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One stretch of the run, the same length for all: the latency in it, and the board at its end."""

    time_s: float
    median_ms: float
    p95_ms: float
    temp_c: float | None
    clock_mhz: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settling:
    """Whether latency and temperature settled, by `measure.steady`; since when, in seconds of the run."""

    answer: Literal["settled", "not yet", "cannot say"]
    reason: str
    since_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Frames by latency, in bins of equal width; what is above the last bin counts in it."""

    low_ms: float
    step_ms: float
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """All of one profile. `figures` are named by what they are, with their unit; the rest of the names explain them.

    p50_ms to worst_ms and fps are of the whole run, steady_* of the part after it settled, start_p50_ms of its first
    thirtieth of a window. cold_load_ms: with the model file out of the page cache. `slowed_s`: for how long the
    firmware said that it slows down or lacks voltage; None where it says nothing.
    """

    v: Annotated[int, Range(1, 1, "(the version of this format)")] = 1
    subject: Subject
    frames: int
    seconds: float
    figures: dict[str, Figure]
    stages_ms: dict[str, float]
    settling: Settling
    slowed_s: float | None
    moments: tuple[Moment, ...]
    histogram: Histogram
    ways: tuple[Measured, ...] = ()
    labelled: int = 0

    def value(self, name: str) -> float | None:
        """A figure's value; None where it was not measured."""
        figure = self.figures.get(name)
        return figure.value if figure else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """What the profile's child knows before the first frame: times in ms. `import_ms`: OpenCV, NumPy, the runtime."""

    model: ModelReport
    import_ms: float
    cold_load_ms: float
    first_ms: float
    warm_load_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """What the profile's child says of a model on `labelled` frames."""

    figures: dict[str, Figure]
    labelled: int


def as_json(profile: Profile) -> str:
    """The document, in five significant digits."""
    return json.dumps(_rounded(dataclasses.asdict(profile)), ensure_ascii=False, allow_nan=False)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    return value
