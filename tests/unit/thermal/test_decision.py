"""The state, its hysteresis and its words."""

from __future__ import annotations

import dataclasses

import pytest

from edgeapp.config import ThermalConfig
from edgeapp.thermal.decision import Situation, StateKeeper, ThermalState

LIMITS = ThermalConfig()
COOL = Situation(
    rate_fps=10.0,
    wanted_fps=10.0,
    temp_c=50.0,
    target_c=76.0,
    full_below_c=76.0,
    throttled_s=0.0,
    lowest_s=0.0,
    blind_reason="",
    is_under_voltage=False,
)
NEAR = dataclasses.replace(COOL, temp_c=72.0)
CUT = dataclasses.replace(COOL, rate_fps=4.13, temp_c=76.2, full_below_c=70.8)
AT_LIMIT = dataclasses.replace(CUT, temp_c=80.0)
BLIND = dataclasses.replace(COOL, rate_fps=5.0, temp_c=None, blind_reason="stuck")


@pytest.mark.parametrize(
    ("situation", "state"),
    [
        (COOL, "nominal"),
        (dataclasses.replace(COOL, temp_c=70.9), "nominal"),
        (dataclasses.replace(COOL, temp_c=71.0), "warm"),
        (NEAR, "warm"),
        (CUT, "hot"),
        (dataclasses.replace(CUT, temp_c=60.0), "hot"),
        (AT_LIMIT, "critical"),
        (dataclasses.replace(COOL, temp_c=80.0), "critical"),
        (dataclasses.replace(COOL, throttled_s=10.0), "nominal"),
        (dataclasses.replace(COOL, throttled_s=12.0), "critical"),
        (dataclasses.replace(CUT, lowest_s=60.0), "hot"),
        (dataclasses.replace(CUT, lowest_s=62.0), "critical"),
        (BLIND, "hot"),
        (dataclasses.replace(BLIND, rate_fps=10.0), "nominal"),
    ],
)
def test_the_state_of_a_situation(situation: Situation, state: str) -> None:
    assert situation.state(LIMITS).value == state


@pytest.mark.parametrize(
    ("situation", "state", "words"),
    [
        (CUT, ThermalState.HOT, "hot: 4.1 of 10 fps, held at 76 °C, 10 fps again below 71 °C"),
        (COOL, ThermalState.NOMINAL, "nominal: 10 of 10 fps, 50 °C"),
        (
            dataclasses.replace(CUT, rate_fps=9.98, temp_c=74.0, full_below_c=75.97),
            ThermalState.HOT,
            "hot: 9.9 of 10 fps, 74 °C, 10 fps again below 76 °C",
        ),
        (
            dataclasses.replace(AT_LIMIT, rate_fps=0.2, throttled_s=12.0, lowest_s=70.0, full_below_c=62.0),
            ThermalState.CRITICAL,
            "critical: 0.2 of 10 fps, 80 °C, 10 fps again below 62 °C, the firmware throttles, "
            "at the lowest rate for 70 s",
        ),
        (BLIND, ThermalState.HOT, "hot: 5 of 10 fps, blind: stuck"),
        (
            dataclasses.replace(COOL, is_under_voltage=True),
            ThermalState.NOMINAL,
            "nominal: 10 of 10 fps, 50 °C, under-voltage: check the power supply",
        ),
    ],
)
def test_the_words_tell_the_rate_the_temperature_and_why(situation: Situation, state: ThermalState, words: str) -> None:
    assert situation.words(state) == words


def states(*situations: Situation, every_s: float = 2.0) -> list[str]:
    keeper = StateKeeper(LIMITS)
    return [keeper.follow(situation, index * every_s).value for index, situation in enumerate(situations)]


def test_a_graver_state_comes_at_once() -> None:
    assert states(COOL, NEAR, CUT, AT_LIMIT) == ["nominal", "warm", "hot", "critical"]


def test_a_milder_state_comes_after_10_s() -> None:
    assert states(AT_LIMIT, *[CUT] * 6) == ["critical"] * 6 + ["hot"]


def test_a_milder_state_must_hold_even_2_degrees_warmer() -> None:
    barely = dataclasses.replace(AT_LIMIT, temp_c=78.5)
    assert set(states(AT_LIMIT, *[barely] * 50)) == {"critical"}


def test_a_relapse_starts_the_10_s_anew() -> None:
    assert states(NEAR, *[COOL] * 5, NEAR, *[COOL] * 6)[-2:] == ["warm", "nominal"]
