"""Feeds the governor once a period, with what was really measured, and keeps its last decision.

Owns the measuring of the duty: the share of wall time that vision spent inferring, between two of its own words, so
that neither a late message nor a period that holds one more of them bends it. Leaves the rule to `governor.py`, the
sensors to `sensors.py`, and setting the rate to the pipeline. One thread calls it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeapp.config import ThermalConfig
from edgeapp.interfaces import Sensors
from edgeapp.thermal.decision import ThermalDecision
from edgeapp.thermal.governor import Governor
from edgeapp.thermal.readings import ThermalReading


@dataclass(frozen=True, slots=True)
class _Work:
    """What vision had done at a moment, counted since its start."""

    at_s: float
    inferred: int
    inferring_s: float


class HeatControl:
    """The governor at work. Times are monotonic seconds."""

    def __init__(self, limits: ThermalConfig, sensors: Sensors, *, now_s: float, wanted_fps: float) -> None:
        self._period_s = limits.period_s
        self._sensors = sensors
        self._governor = Governor(limits)
        self._before: _Work | None = None
        self._now: _Work | None = None
        self._infer_ms: float | None = None
        self._due_s = now_s
        self.decision: ThermalDecision = self._decide(now_s, wanted_fps)

    def vision_starts(self) -> None:
        """Vision counts from 0 again."""
        self._before = self._now = None

    def model_changes(self) -> None:
        """Another model's inferences take another time, for another reason than heat."""
        self._governor.forget_inference_time()
        self._infer_ms = None

    def note_work(self, at_s: float, inferred: int, inferring_s: float) -> None:
        """Take vision's word, heard at `at_s`, of how much it has inferred since its start."""
        self._now = _Work(at_s, inferred, inferring_s)
        if self._before is None:
            self._before = self._now
        if self._infer_ms is None and inferred > self._before.inferred:
            self._due_s = at_s  # the first inferences tell how long one takes: no need to be careful any longer

    def wanted_changes(self) -> None:
        """Decide anew at once."""
        self._due_s = 0.0

    def step(self, now_s: float, wanted_fps: float) -> ThermalDecision | None:
        """The decision on the period that has just ended; None while it lasts."""
        if now_s < self._due_s:
            return None
        self.decision = self._decide(now_s, wanted_fps)
        return self.decision

    def _decide(self, now_s: float, wanted_fps: float) -> ThermalDecision:
        self._due_s = now_s + self._period_s
        duty = self._measure()
        samples = self._sensors.take()
        flags = [sample.flags for sample in samples if sample.flags is not None]
        merged = flags[0] if flags else None
        for more in flags[1:]:
            merged = more.merged(merged) if merged else more
        return self._governor.step(
            ThermalReading(
                at_s=now_s,
                samples_c=tuple(sample.temp_c for sample in samples),
                duty=duty,
                infer_ms=self._infer_ms,
                flags=merged,
                wanted_fps=wanted_fps,
            )
        )

    def _measure(self) -> float:
        """The duty between the last words of the period before and of this one; 0 while vision says nothing."""
        before, now = self._before, self._now
        if before is None or now is None or now.at_s <= before.at_s:
            return 0.0
        inferred, inferring_s = now.inferred - before.inferred, now.inferring_s - before.inferring_s
        if inferred > 0:
            self._infer_ms = 1000 * inferring_s / inferred
        self._before = now
        return min(1.0, inferring_s / (now.at_s - before.at_s))
