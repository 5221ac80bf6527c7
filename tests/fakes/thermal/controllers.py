"""Other ways to hold a temperature, for comparison: what one finds in drivers, kernels and scripts.

Each is as its usual form, with the target of 76 °C; times in s, rates as shares of the wanted one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from edgeapp.config import ThermalConfig
from edgeapp.thermal.governor import Governor
from edgeapp.thermal.readings import ThermalReading

TARGET_C = 76.0


class Controller(Protocol):
    """Anything that says how fast to infer, every two seconds."""

    def rate_fps(self, reading: ThermalReading) -> float:
        """The rate for the next period."""


class Governed:
    """Ours. It keeps the last decision and the states that it went through."""

    def __init__(self, limits: ThermalConfig | None = None) -> None:
        self._governor = Governor(limits or ThermalConfig())
        self.blind: list[bool] = []

    def rate_fps(self, reading: ThermalReading) -> float:
        decision = self._governor.step(reading)
        self.blind.append(bool(decision.blind_reason))
        return decision.rate_fps


class Unlimited:
    """Always the wanted rate; the firmware throttles."""

    def rate_fps(self, reading: ThermalReading) -> float:
        return reading.wanted_fps


def _mean_c(reading: ThermalReading) -> float:
    samples = [each for each in reading.samples_c if each is not None and math.isfinite(each)]
    return sum(samples) / len(samples) if samples else 0.0


def _flat_out_fps(reading: ThermalReading) -> float:
    """The most that has an effect: the wanted rate, or what the model can do."""
    return min(reading.wanted_fps, 1e3 / reading.infer_ms) if reading.infer_ms else reading.wanted_fps


class OnOff:
    """Off at the target, on again 4 °C below: a thermostat."""

    def __init__(self) -> None:
        self._is_on = True

    def rate_fps(self, reading: ThermalReading) -> float:
        temp_c = _mean_c(reading)
        self._is_on = temp_c < TARGET_C if self._is_on else temp_c <= TARGET_C - 4
        return reading.wanted_fps if self._is_on else 0.2


class Ladder:
    """A step slower at each of 70, 72.5, 75 and 77.5 °C, with 1 °C of hysteresis: the kernel's step-wise governor."""

    _SHARES = (1.0, 0.75, 0.5, 0.25, 0.1)

    def __init__(self) -> None:
        self._step = 0

    def rate_fps(self, reading: ThermalReading) -> float:
        temp_c = _mean_c(reading)
        up = sum(temp_c >= limit_c for limit_c in (70.0, 72.5, 75.0, 77.5))
        down = sum(temp_c + 1 >= limit_c for limit_c in (70.0, 72.5, 75.0, 77.5))
        self._step = min(max(self._step, up), down)
        return _flat_out_fps(reading) * self._SHARES[self._step]


class PowerAllocator:
    """The PID of the Linux power allocator, with its default gains; the budget is a share of the full power.

    Drivers/thermal/gov_power_allocator.c: k_po = sustainable / (control - switch-on), k_pu = twice that, k_i = k_po /
    10, and the integral grows only within 0 K of the target.
    """

    _SUSTAINABLE, _SWITCH_ON_C = 0.5, 66.0

    def __init__(self) -> None:
        self._integral = 0.0

    def rate_fps(self, reading: ThermalReading) -> float:
        temp_c = _mean_c(reading)
        if temp_c < self._SWITCH_ON_C:
            self._integral = 0.0
            return reading.wanted_fps
        error_c = TARGET_C - temp_c
        k_po = self._SUSTAINABLE / (TARGET_C - self._SWITCH_ON_C)
        gain = k_po if error_c < 0 else 2 * k_po
        if error_c < 0:
            self._integral += k_po / 10 * error_c
        share = min(max(self._SUSTAINABLE + gain * error_c + self._integral, 0.02), 1.0)
        return _flat_out_fps(reading) * share


class ProportionalIntegral:
    """A PI with clamped integral in the manner of the simple-pid package; gains tuned by hand on the Pi 4."""

    _KP, _KI, _PERIOD_S = 0.06, 0.004, 2.0

    def __init__(self) -> None:
        self._integral = 1.0

    def rate_fps(self, reading: ThermalReading) -> float:
        error_c = TARGET_C - _mean_c(reading)
        self._integral = min(max(self._integral + self._KI * error_c * self._PERIOD_S, 0.0), 1.0)
        share = min(max(self._KP * error_c + self._integral, 0.02), 1.0)
        return _flat_out_fps(reading) * share


CONTROLLERS: dict[str, Callable[[], Controller]] = {
    "governor": Governed,
    "none": Unlimited,
    "on/off 76/72": OnOff,
    "ladder 70..77.5": Ladder,
    "power allocator PID": PowerAllocator,
    "PI": ProportionalIntegral,
}
