"""What the governor decides, and in which words; pure.

Owns the decision's values, the state with its hysteresis, and the sentence that tells why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from edgeapp.config import ThermalConfig
from edgeapp.types import ThrottleFlags

_WARM_C = 5.0
_CRITICAL_THROTTLED_S, _CRITICAL_LOWEST_S = 10.0, 60.0
_CALM_C, _CALM_S = 2.0, 10.0
_HELD_C = 1.5


class ThermalState(StrEnum):
    """How warm it is, by what it costs; in order of gravity."""

    NOMINAL = "nominal"  # the full rate
    WARM = "warm"  # the full rate, but near the target
    HOT = "hot"  # the rate is cut
    CRITICAL = "critical"  # at the limit, throttled, or at the lowest rate

    @property
    def is_hot(self) -> bool:
        """Whether the heat costs frames."""
        return self in (ThermalState.HOT, ThermalState.CRITICAL)


_GRAVITY = {state: gravity for gravity, state in enumerate(ThermalState)}


class Source(StrEnum):
    """What the rate is decided by."""

    SENSOR = "sensor"
    BLIND = "blind"


class LimitedBy(StrEnum):
    """What keeps the rate from being higher."""

    NONE = "none"  # the model runs flat out
    DEMAND = "demand"  # no more is wanted
    HEAT = "heat"
    BLIND = "blind"  # no thermometer: slower out of caution


@dataclass(frozen=True, kw_only=True, slots=True)
class ThermalCounters:
    """Since the start. Throttled means by the firmware, for heat."""

    seconds_throttled: float = 0.0
    seconds_blind: float = 0.0
    seconds_under_voltage: float = 0.0
    rate_changes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ThermalDecision:
    """The rate to run at and why.

    `temp_c` is the mean of the window that was decided on, None while blind; `headroom_c` how far it is below the
    target held at present. `blind_reason` is empty with a sensor. `flags` are the firmware's of now, None where it
    cannot be asked; `flags_since_start` all that were ever set. `text` is the reason in words.
    """

    rate_fps: float
    rate_wanted_fps: float
    state: ThermalState
    source: Source
    blind_reason: str
    limited_by: LimitedBy
    temp_c: float | None
    headroom_c: float | None
    flags: ThrottleFlags | None
    flags_since_start: ThrottleFlags
    counters: ThermalCounters
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What a state and its words depend on.

    `temp_c` is None while blind. `throttled_s` and `lowest_s` tell for how long at a stretch the firmware has
    throttled and the rate has been the lowest. `full_below_c` is the temperature below which the full rate would run.
    """

    rate_fps: float
    wanted_fps: float
    temp_c: float | None
    target_c: float
    full_below_c: float
    throttled_s: float
    lowest_s: float
    blind_reason: str
    is_under_voltage: bool

    @property
    def is_cut(self) -> bool:
        return self.rate_fps < self.wanted_fps

    def state(self, limits: ThermalConfig, warmer_c: float = 0.0) -> ThermalState:
        """The state without hysteresis, as it would be so many °C warmer."""
        temp_c = -math.inf if self.temp_c is None else self.temp_c + warmer_c
        is_throttled = self.throttled_s > _CRITICAL_THROTTLED_S
        if temp_c >= limits.throttle_c or is_throttled or self.lowest_s > _CRITICAL_LOWEST_S:
            return ThermalState.CRITICAL
        if self.is_cut:
            return ThermalState.HOT
        return ThermalState.WARM if temp_c >= self.target_c - _WARM_C else ThermalState.NOMINAL

    def words(self, state: ThermalState) -> str:
        """Such as "hot: 4.1 of 10 fps, held at 76 °C, 10 fps again below 71 °C"."""
        parts = [f"{state}: {_fps(self.rate_fps)} of {_fps(self.wanted_fps)} fps"]
        if self.temp_c is not None:
            is_held = self.is_cut and abs(self.target_c - self.temp_c) < _HELD_C
            parts.append(f"held at {self.temp_c:.0f} °C" if is_held else f"{self.temp_c:.0f} °C")
            if self.is_cut:
                parts.append(f"{_fps(self.wanted_fps)} fps again below {self.full_below_c:.0f} °C")
        else:
            parts.append(f"blind: {self.blind_reason}")
        if self.throttled_s > 0:
            parts.append("the firmware throttles")
        if self.lowest_s > _CRITICAL_LOWEST_S:
            parts.append(f"at the lowest rate for {self.lowest_s:.0f} s")
        if self.is_under_voltage:
            parts.append("under-voltage: check the power supply")
        return ", ".join(parts)


class StateKeeper:
    """The state with its hysteresis: graver at once, milder after 10 s in which it would be so even 2 °C warmer."""

    def __init__(self, limits: ThermalConfig) -> None:
        self._limits = limits
        self._state = ThermalState.NOMINAL
        self._calm_since_s: float | None = None

    def follow(self, situation: Situation, at_s: float) -> ThermalState:
        """The state now."""
        now, calm = situation.state(self._limits), situation.state(self._limits, _CALM_C)
        if _GRAVITY[now] > _GRAVITY[self._state]:
            self._state, self._calm_since_s = now, None
        elif _GRAVITY[calm] >= _GRAVITY[self._state]:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = at_s
        elif at_s - self._calm_since_s >= _CALM_S:
            self._state, self._calm_since_s = calm, None
        return self._state


def _fps(rate_fps: float) -> str:
    """Rounded down, so that a cut rate never looks like the full one."""
    return f"{math.floor(rate_fps * 10) / 10:g}" if rate_fps >= 1 else f"{rate_fps:.2g}"
