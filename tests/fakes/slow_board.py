"""A board that gets hot and slows down, as the profile sees one: its child, and its sensors.

    python -m tests.fakes.slow_board AFTER FACTOR run|accuracy ...

is the profile's child on such a board: after so many inferences each takes FACTOR times as long.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from typing import Any

from edgeapp.measure import profile_child
from edgeapp.types import Sample, ThrottleFlags
from edgeapp.vision.model import Model


def command(after: int, factor: float) -> tuple[str, ...]:
    """What starts such a child."""
    return (sys.executable, "-B", "-m", "tests.fakes.slow_board", str(after), str(factor))


class HotSensors:
    """Warms up from the first question on; None for a thermometer that there is not."""

    def __init__(self, start_c: float | None, end_c: float, *, tau_s: float, throttled_after_s: float) -> None:
        self._start_c, self._end_c, self._tau_s = start_c, end_c, tau_s
        self._throttled_after_s = throttled_after_s
        self._began_s: float | None = None

    def take(self) -> tuple[Sample, ...]:
        self._began_s = self._began_s or time.monotonic()
        at_s = time.monotonic() - self._began_s
        if self._start_c is None:
            return (Sample(None, None),)
        temp_c = self._end_c - (self._end_c - self._start_c) * math.exp(-at_s / self._tau_s)
        return (Sample(round(temp_c * 2) / 2, ThrottleFlags(throttled=at_s > self._throttled_after_s)),)


def _slow_down(after: int, factor: float) -> None:
    predict_in_stages = Model.predict_in_stages
    done = itertools.count(1)

    def slowly(model: Model, picture: Any) -> Any:
        detections, (preprocess_ms, invoke_ms, postprocess_ms) = predict_in_stages(model, picture)
        if next(done) > after:
            until_s = time.perf_counter() + (factor - 1) * invoke_ms / 1e3
            while time.perf_counter() < until_s:
                continue
            invoke_ms *= factor
        return detections, (preprocess_ms, invoke_ms, postprocess_ms)

    setattr(Model, predict_in_stages.__name__, slowly)


if __name__ == "__main__":
    _slow_down(int(sys.argv[1]), float(sys.argv[2]))
    profile_child.main(sys.argv[3:])
