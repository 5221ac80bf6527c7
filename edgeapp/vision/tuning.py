"""What was measured of a model on this board, and what to choose by it; pure.

`auto` is a promise that can be checked: delegate and threads are those that were fastest here, for this model file and
this runtime. The rule of choice weighs time against heat and the other processes, which a further thread costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from edgeapp.config import DelegateLibrary, InferenceConfig
from edgeapp.reader import Range

_MOST_THREADS = 8
THREAD_GAIN = 0.8
"""A further thread must bring the median to this share. Measured: 0.5 to 0.6 with a free core, 0.8 to 2.4 without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One way to run the model, and how long an inference takes on it."""

    delegate: Literal["xnnpack", "none"]
    threads: Annotated[int, Range(1, 16, "threads")]
    median_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningKey:
    """What the measurement holds for: this model file, on this runtime, on this board. Another value: measure anew."""

    sha256: str
    runtime: str
    board: str
    cores: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """All that was measured for one key."""

    key: TuningKey
    measured: tuple[Measured, ...]


def thread_counts(cores: int) -> range:
    """The thread counts worth measuring: from 1 to all cores but one, which is the camera's."""
    return range(1, min(max(cores, 2), _MOST_THREADS + 1))


def choose(inference: InferenceConfig, measured: Sequence[Measured]) -> Measured | None:
    """The best of what was measured, among what the configuration leaves open; None where nothing fits it.

    Of each thread count the way with the lower median; from one thread on, each further thread is taken if it brings
    the median to THREAD_GAIN of what it was before.
    """
    open_ways = [
        way
        for way in measured
        if inference.delegate in ("auto", way.delegate) and inference.threads in (None, way.threads)
    ]
    chosen: Measured | None = None
    for way in sorted(open_ways, key=lambda way: (way.threads, way.median_ms)):
        if chosen is None or way.median_ms <= chosen.median_ms * THREAD_GAIN ** (way.threads - chosen.threads):
            chosen = way
    return chosen


def is_open(inference: InferenceConfig) -> bool:
    """Whether the configuration leaves delegate or threads to what was measured."""
    is_library = isinstance(inference.delegate, DelegateLibrary)
    return not is_library and (inference.delegate == "auto" or inference.threads is None)


def settle(inference: InferenceConfig, best: Measured | None) -> InferenceConfig:
    """Nothing left open: as configured, else as measured best, else XNNPACK with one thread."""
    if best is not None:
        return replace(inference, delegate=best.delegate, threads=best.threads)
    delegate = "xnnpack" if inference.delegate == "auto" else inference.delegate
    return replace(inference, delegate=delegate, threads=inference.threads or 1)
