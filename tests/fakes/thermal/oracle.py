"""The most frames that any controller could infer without passing the target: what others are measured by.

Flat out until the die is at the target, then exactly the duty that holds it there. That is optimal, as the heat that a
board loses grows with its temperature: heat not lost early can never be lost later. The oracle knows the plant, the
weather and its future, and its duty is a smooth flow instead of single frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.fakes.thermal.plant import Floats, Plant
from tests.fakes.thermal.scenarios import Scenario

STEP_S = 0.05


class Weather:
    """Ambient temperature, other work and the fans of several scenarios, second by second."""

    def __init__(self, scenarios: Sequence[Scenario], seconds: float) -> None:
        times = range(int(seconds) + 1)
        self.ambient_c = np.array([[each.ambient_c(at) for each in scenarios] for at in times])
        self.other_w = np.array([[each.other_w(at) for each in scenarios] for at in times])
        self._fan_fails_at_s = np.array([each.fan_fails_at_s for each in scenarios])

    def fan_works(self, at_s: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return np.asarray(at_s < self._fan_fails_at_s)


@dataclass(frozen=True, slots=True)
class Optimum:
    """What the oracle did: frames per scenario, and per period and scenario."""

    frames: Floats
    frames_by_period: Floats


def oracle(scenarios: Sequence[Scenario], seconds: float, target_c: float, period_s: float = 2.0) -> Optimum:
    """Run the oracle on several scenarios side by side."""
    weather = Weather(scenarios, seconds)
    plant = Plant([each.board for each in scenarios], weather.ambient_c[0])
    infer_s = np.array([each.infer_s for each in scenarios])
    wanted_fps = np.array([each.wanted_fps for each in scenarios])
    per_period = round(period_s / STEP_S)
    by_period = np.zeros((int(seconds / period_s), len(scenarios)))
    for index in range(len(by_period) * per_period):
        second = int(index * STEP_S)
        plant.fan_works = weather.fan_works(second)
        speed = plant.speed
        most = np.minimum(1.0, wanted_fps * infer_s / speed)
        duty = np.clip(plant.holding_duty(STEP_S, target_c, weather.other_w[second]), 0.0, most)
        by_period[index // per_period] += duty * speed * STEP_S / infer_s
        plant.advance(STEP_S, duty, weather.ambient_c[second], weather.other_w[second])
    return Optimum(by_period.sum(axis=0), by_period)
