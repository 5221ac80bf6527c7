"""Measures a model on this board: with and without its delegate, with one thread and more.

Each figure is a self-test in a process of its own, so no way of running can spoil another's. The rounds are interleaved
and their median counts, so that a board that warms up or is busy for a moment favours none.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from edgeapp.errors import ModelError
from edgeapp.vision.selftest import SelfTestLimits, self_test
from edgeapp.vision.tuning import Measured, thread_counts

ROUNDS = 3
LIMITS = SelfTestLimits(invokes=100, measure_s=3.0)
_Way = tuple[Literal["xnnpack", "none"], int]


def tune(
    folder: Path,
    *,
    cores: int,
    budget_s: float = 180.0,
    limits: SelfTestLimits = LIMITS,
    on_progress: Callable[[str], None] = lambda _: None,
) -> tuple[Measured, ...]:
    """What each way to run the model of a folder takes, fewest threads first.

    After `budget_s` no trial is begun but those of the first round. `on_progress` is told what comes next.

    Raises:
        ModelError: the model passes its self-test in no way.
    """
    ways: list[_Way] = [(delegate, count) for count in thread_counts(cores) for delegate in ("xnnpack", "none")]
    found: dict[_Way, list[tuple[float, float]]] = {way: [] for way in ways}
    until_s = time.monotonic() + budget_s
    trouble = ""
    for number, way in ((number, way) for number in range(ROUNDS) for way in ways):
        if number and time.monotonic() > until_s:
            break
        delegate, threads = way
        on_progress(f"round {number + 1} of {ROUNDS}: {delegate}, threads {threads}")
        report = self_test(folder, limits, delegate=delegate, threads=threads)
        if report.passed and report.median_ms is not None and report.p99_ms is not None:
            found[way].append((report.median_ms, report.p99_ms))
        else:
            trouble = f"{report.code}: {report.text}"
    if not any(found.values()):
        raise ModelError(f"{folder}: expected a model that passes its self-test, found {trouble}")
    return tuple(
        Measured(
            delegate=delegate,
            threads=threads,
            median_ms=statistics.median(median for median, _ in times),
            p99_ms=statistics.median(p99 for _, p99 in times),
        )
        for (delegate, threads), times in found.items()
        if times
    )
