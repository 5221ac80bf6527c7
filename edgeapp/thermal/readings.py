"""What the governor is told, and which of it can be believed; pure.

Owns the rules for the thermometer: what is no temperature, when it is missing, when it is stuck, and when it may be
trusted again. What to do without it is the governor's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeapp.config import ThermalConfig
from edgeapp.types import ThrottleFlags

VALID_C = (-30.0, 110.0)  # and not 0: what a broken driver reads
_SPIKE_C = 12.0  # further than this from the window's median
_MIN_VALID = 0.25  # share of a window's samples
_MIN_AGREEING = 0.6  # share of the valid ones within the spike's distance; below that the sensor reads noise
_MISSING_S = 4.0
_STUCK_HEAT_C, _STUCK_HEAT_S = 3.0, 10.0
_CONTRADICTED_S, _CONTRADICTED_C = 4.0, 2.0
_GOOD_WINDOWS = 3
_ROUNDING_S = 1e-6  # sums of decimal fractions of seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ThermalReading:
    """One period, as measured.

    `at_s` is monotonic. `samples_c` are the reads of the thermometer since the last step, in °C, as read; None where a
    read failed. `duty` is the share of wall time that was spent inferring, 0 to 1. `infer_ms` is the median time of an
    inference, None before the first. `flags` is None where the firmware cannot be asked. `wanted_fps`, above 0, is the
    rate to run at if the heat allows.
    """

    at_s: float
    samples_c: tuple[float | None, ...]
    duty: float
    infer_ms: float | None
    flags: ThrottleFlags | None
    wanted_fps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowTemp:
    """The temperature of one period in °C: the mean and the highest sample."""

    mean_c: float
    peak_c: float

    @classmethod
    def of(cls, kept: list[float]) -> WindowTemp:
        return cls(mean_c=math.fsum(kept) / len(kept), peak_c=max(kept))


def believable(samples_c: tuple[float | None, ...]) -> list[float]:
    """The samples that may be temperatures, in their order: finite, within the limits, not 0, and no spike."""
    valid = [c for c in samples_c if c is not None and c != 0 and VALID_C[0] <= c <= VALID_C[1]]
    if not valid:
        return valid
    ordered = sorted(valid)
    median_c = (ordered[(len(valid) - 1) // 2] + ordered[len(valid) // 2]) / 2
    kept = [c for c in valid if abs(c - median_c) <= _SPIKE_C]
    return kept if len(kept) >= _MIN_AGREEING * len(valid) else []


class SensorJudge:
    """Decides window by window whether the thermometer can be believed.

    `fault` is empty while it can, else says in a few words why not: then the governor is blind. `was_seen` tells
    whether it ever could. The first good window is believed at once; after a fault it takes three.
    """

    def __init__(self, limits: ThermalConfig) -> None:
        self._stuck_s, self._limit_c = limits.stuck_s, limits.throttle_c
        self.fault = "no reading yet"
        self.was_seen = False
        self._bad_since_s: float | None = None
        self._good_windows = 0
        self._same_c: float | None = None  # the value that has been read all the time since _same_since_s
        self._same_since_s = self._same_heat_c = 0.0
        self._stuck_c: float | None = None
        self._moved_since_s: float | None = None
        self._throttled_since_s: float | None = None

    def see(
        self,
        samples_c: tuple[float | None, ...],
        *,
        began_s: float,
        at_s: float,
        heat_c: float,
        is_throttled: bool,
        may_stand: bool,
    ) -> WindowTemp | None:
        """The temperature of the window from `began_s` to `at_s`, or None where this window tells none.

        `heat_c` is how far inference should have warmed the die above the rest, `is_throttled` whether the firmware
        throttles for heat, `may_stand` whether a reading that stands still is no reason for doubt by itself: the rate
        is full, and the firmware would tell if it were too hot.
        """
        kept = believable(samples_c)
        temp = WindowTemp.of(kept) if kept and len(kept) >= _MIN_VALID * len(samples_c) else None
        self._follow_sameness(kept, began_s, at_s, heat_c, is_throttled)
        if temp is None:
            self._bad_since_s = began_s if self._bad_since_s is None else self._bad_since_s
            if at_s - self._bad_since_s >= _MISSING_S - _ROUNDING_S:
                self.fault = "no valid reading" if self.was_seen else "no thermometer"
        else:
            self._bad_since_s = None
            if self._is_stuck(at_s, may_stand):
                self.fault, self._stuck_c = "stuck", self._same_c
                temp = None
        self._good_windows = 0 if temp is None else self._good_windows + 1
        if temp is not None and (not self.was_seen or self._good_windows >= _GOOD_WINDOWS):
            if self.fault == "stuck":
                self._stuck_s *= 2  # it lives: a coarse thermometer of a board at rest
            self.fault = ""
            self.was_seen = True
        return temp

    def _follow_sameness(
        self, kept: list[float], began_s: float, at_s: float, heat_c: float, is_throttled: bool
    ) -> None:
        """Since when every reading is one and the same, and what has happened since then."""
        same_c = kept[0] if kept and min(kept) == max(kept) else None
        if kept and (same_c is None or same_c != self._same_c):
            self._same_c = same_c
            self._same_since_s, self._same_heat_c = began_s, heat_c
            self._moved_since_s = None
            self._throttled_since_s = None
        if abs(heat_c - self._same_heat_c) < _STUCK_HEAT_C:
            self._moved_since_s = None
        elif self._moved_since_s is None:
            self._moved_since_s = at_s
        if not is_throttled:
            self._throttled_since_s = None
        elif self._throttled_since_s is None:
            self._throttled_since_s = at_s

    def _is_stuck(self, at_s: float, may_stand: bool) -> bool:
        if self._same_c is None:
            return False
        if self.fault == "stuck" and self._same_c == self._stuck_c:
            return True  # that the firmware throttles no more, or that we slowed down, is no sign of life
        latest_s = at_s + _ROUNDING_S
        if not may_stand and latest_s - self._same_since_s >= self._stuck_s:
            return True
        if self._moved_since_s is not None and latest_s - self._moved_since_s >= _STUCK_HEAT_S:
            return True
        # The firmware throttles from throttle_c on: a standing lower value beside that is no temperature.
        return (
            self._throttled_since_s is not None
            and latest_s - self._throttled_since_s >= _CONTRADICTED_S
            and self._same_c < self._limit_c - _CONTRADICTED_C
        )
