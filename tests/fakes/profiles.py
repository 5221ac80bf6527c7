"""Profiles without a board: every figure there, each to be replaced."""

from __future__ import annotations

from typing import Literal

from edgeapp.measure.figures import Figure, Histogram, Moment, Profile, Settling, Subject
from edgeapp.types import DelegateReport, ModelReport
from edgeapp.vision.tuning import Measured

_STAGES = {"decode": 4.0, "preprocess": 1.0, "invoke": 20.0, "postprocess": 0.5}


def make_profile(
    *,
    answer: Literal["settled", "not yet"] = "settled",
    start_ms: float = 25.0,
    steady_ms: float = 25.0,
    temp_c: float | None = 61.5,
    **figures: Figure,
) -> Profile:
    """A profile of 600 s; `figures` replace or add to the usual ones."""
    delegate = DelegateReport("xnnpack", nodes=10, delegated=10, partitions=1)
    model = ModelReport("street", 3, "0" * 64, "int8", ("person",), "ai-edge-litert 2.3.0", 1, delegate)
    steady = {"steady_p50_ms": Figure(steady_ms, steady_ms * 0.99, steady_ms * 1.01)} if answer == "settled" else {}
    steady |= {"steady_p95_ms": Figure(1.2 * steady_ms, 1.1 * steady_ms, 1.3 * steady_ms)} if steady else {}
    usual = dict.fromkeys(("import_ms", "cold_load_ms", "first_ms", "warm_load_ms", "worst_ms"), Figure(100.0))
    usual |= dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "fps"), Figure(30.0, 29.0, 31.0))
    return Profile(
        subject=Subject(
            model=model, size_bytes=4_000_000, board="Board <1>", os_name="Debian", cores=4,
            frames="street.mp4", measured_at="2026-01-01T00:00:00+00:00", edgeapp="0.1.0",
        ),
        frames=1000, seconds=600.0, stages_ms=_STAGES, slowed_s=None,
        figures={**usual, "start_p50_ms": Figure(start_ms), "rss_mb": Figure(90.0), **steady, **figures},
        settling=Settling(answer=answer, reason="latency rests", since_s=100.0 if steady else None),
        moments=tuple(
            Moment(time_s=float(at), median_ms=steady_ms, p95_ms=30.0, temp_c=temp_c, clock_mhz=None)
            for at in range(10, 601, 10)
        ),
        histogram=Histogram(low_ms=20.0, step_ms=1.0, counts=(5, 9, 3)),
        ways=(
            Measured(delegate="xnnpack", threads=1, median_ms=20.0, p99_ms=25.0),
            Measured(delegate="xnnpack", threads=2, median_ms=11.0, p99_ms=15.0),
        ),
    )  # fmt: skip
