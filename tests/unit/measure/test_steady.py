"""Settled is said of what lasts: not of a slow slope, not across a step, but of a swing that repeats itself."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edgeapp.measure.steady import Answer, SteadyLimits, SteadyState, Verdict

Curve = Callable[[float], float]
_WINDOW_S, _BLOCK_S = 300.0, 10.0
_HZ = 1


def _flat(_time_s: float) -> float:
    return 20.0


def _brisk(time_s: float) -> float:
    return 75 - 30 * math.exp(-time_s / 60)


def _warming(tau_s: float, rise_c: float = 30.0) -> Curve:
    return lambda time_s: 75 - rise_c * math.exp(-time_s / tau_s)


@dataclass(frozen=True)
class _Board:
    """A board under load: its latency and what its sensor, noisy and in steps of 0.5 °C, says of its temperature."""

    latency_ms: Curve = _flat
    temp_c: Curve | None = _brisk
    noise_ms: float = 0.3
    noise_c: float = 0.2
    seed: int = 1

    def run(self, until_s: float) -> list[tuple[float, Verdict]]:
        """Every verdict that differs from the one before, with its time."""
        chance, steady = random.Random(self.seed), SteadyState()
        verdicts: list[tuple[float, Verdict]] = []
        for index in range(round(until_s * _HZ)):
            time_s = index / _HZ
            temp_c = None
            if self.temp_c is not None:
                temp_c = round((self.temp_c(time_s) + chance.gauss(0, self.noise_c)) * 2) / 2
            steady.add(time_s, self.latency_ms(time_s) + chance.gauss(0, self.noise_ms), temp_c)
            if not verdicts or steady.verdict() is not verdicts[-1][1]:
                verdicts.append((time_s, steady.verdict()))
        return verdicts


def _at(verdicts: list[tuple[float, Verdict]], at_s: float) -> Verdict:
    return [verdict for time_s, verdict in verdicts if time_s <= at_s][-1]


def _first_settled(verdicts: list[tuple[float, Verdict]], after_s: float = 0.0) -> tuple[float, Verdict]:
    return next(
        (time_s, verdict) for time_s, verdict in verdicts if time_s > after_s and verdict.answer is Answer.SETTLED
    )


def _answers(verdicts: list[tuple[float, Verdict]], after_s: float) -> set[Answer]:
    return {verdict.answer for time_s, verdict in verdicts if time_s > after_s}


# At rest


def test_what_is_flat_settles_after_one_window_and_stays_so() -> None:
    verdicts = _Board(temp_c=lambda _: 60.0).run(1200)
    time_s, verdict = _first_settled(verdicts)
    assert time_s == _WINDOW_S
    assert verdict.median_ms == pytest.approx(20, abs=0.1)
    assert verdict.since_s == pytest.approx(0, abs=_BLOCK_S)
    assert _answers(verdicts, time_s) == {Answer.SETTLED}
    assert verdicts[-1][1].since_s == verdict.since_s
    assert "temperature rests at 60.0 °C" in verdict.reason


def test_before_one_window_is_full_it_is_not_yet() -> None:
    verdict = _at(_Board(temp_c=lambda _: 60.0).run(200), 200)
    assert verdict == Verdict(Answer.NOT_YET, "measured for 190 of at least 300 s")


@pytest.mark.parametrize("noise_c", [0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize(("tau_s", "rise_c"), [(60, 40), (200, 30), (500, 20), (500, 40)])
def test_an_exponential_settles_when_at_most_a_degree_is_to_come_and_not_before_three_time_constants(
    tau_s: float, rise_c: float, noise_c: float
) -> None:
    curve = _warming(tau_s, rise_c)
    time_s, verdict = _first_settled(_Board(temp_c=curve, noise_c=noise_c).run(3600))
    assert time_s >= 3 * tau_s
    assert curve(1e9) - curve(time_s) <= SteadyLimits().temp_c
    assert time_s < _WINDOW_S + 8 * tau_s
    assert verdict.median_ms == pytest.approx(20, abs=0.1)


def test_on_its_way_up_it_says_how_much_may_be_to_come() -> None:
    verdict = _at(_Board(temp_c=_warming(500)).run(600), 600)
    assert verdict.answer is Answer.NOT_YET
    assert verdict.reason.startswith("temperature still rises: ")
    assert (verdict.median_ms, verdict.since_s) == (None, None)


def test_a_latency_that_creeps_up_with_the_heat_settles_when_at_most_three_percent_are_to_come() -> None:
    def creeping(time_s: float) -> float:
        return 40 - 20 * math.exp(-time_s / 500)

    time_s, _ = _first_settled(_Board(latency_ms=creeping, temp_c=lambda _: 80.0).run(4000))
    assert 40 - creeping(time_s) <= 0.03 * 40


def test_the_turn_of_the_day_does_not_unsettle_it() -> None:
    def day(time_s: float) -> float:
        return 60 + 5 * math.sin(2 * math.pi * time_s / 86400)

    assert _answers(_Board(temp_c=day).run(3600), _WINDOW_S) == {Answer.SETTLED}


def test_slow_frames_and_wrong_readings_move_nothing() -> None:
    def with_outliers(curve: Curve, wrong: float) -> Curve:
        return lambda time_s: wrong if time_s % 7 < 1 else curve(time_s)

    board = _Board(latency_ms=with_outliers(_flat, 400.0), temp_c=with_outliers(lambda _: 60.0, 95.0))
    verdicts = board.run(1200)
    _, verdict = _first_settled(verdicts)
    assert verdict.median_ms == pytest.approx(20, abs=0.2)
    assert _answers(verdicts, _WINDOW_S) == {Answer.SETTLED}


# Steps


@pytest.mark.parametrize("throttled_ms", [12.0, 24.0, 60.0])
def test_throttling_that_begins_unsettles_it_until_a_new_window_is_full(throttled_ms: float) -> None:
    begins_s = 1500.0
    verdicts = _Board(latency_ms=lambda time_s: 20.0 if time_s < begins_s else throttled_ms).run(2400)
    assert _at(verdicts, begins_s).answer is Answer.SETTLED
    assert _at(verdicts, begins_s + 60).answer is not Answer.SETTLED
    again_s, verdict = _first_settled(verdicts, begins_s + 60)
    assert begins_s + 0.8 * _WINDOW_S <= again_s <= begins_s + 1.2 * _WINDOW_S
    assert verdict.since_s is not None
    assert verdict.since_s >= begins_s
    assert verdict.median_ms == pytest.approx(throttled_ms, abs=0.2)


def test_a_step_of_the_temperature_alone_unsettles_it() -> None:
    verdicts = _Board(temp_c=lambda time_s: 60.0 if time_s < 1000 else 64.0).run(1500)
    assert _at(verdicts, 1000).answer is Answer.SETTLED
    assert _at(verdicts, 1060).answer is Answer.NOT_YET
    assert "temperature" in _at(verdicts, 1060).reason


def test_a_hill_is_not_settled_although_both_its_sides_cancel_out() -> None:
    def hill(time_s: float) -> float:
        return 60 + 4 * max(0.0, 1 - abs(time_s - 1500) / 150)

    verdicts = _Board(temp_c=hill).run(1650)
    assert Answer.SETTLED not in _answers(verdicts, 1480)


# Swings that last


@pytest.mark.parametrize("period_s", [45.0, 62.0, 100.0, 180.0, 280.0])
def test_throttling_on_and_off_for_ever_is_settled_and_says_between_what_it_swings(period_s: float) -> None:
    def on_off(time_s: float) -> float:
        return 20.0 if time_s % period_s < 0.6 * period_s else 30.0

    verdicts = _Board(latency_ms=on_off, temp_c=lambda _: 80.0).run(2500)
    assert _answers(verdicts, 2000) == {Answer.SETTLED}
    assert re.search(r"latency swings steadily between (19|20)\.\d ms and (29|30)\.\d ms", verdicts[-1][1].reason)


@pytest.mark.parametrize("period_s", [60.0, 120.0, 200.0])
def test_a_fan_that_starts_and_stops_is_settled(period_s: float) -> None:
    def fan(time_s: float) -> float:
        return 68 + 5 * (time_s % period_s) / period_s

    verdicts = _Board(temp_c=fan).run(2500)
    assert _answers(verdicts, 2000) == {Answer.SETTLED}
    assert "temperature swings steadily" in verdicts[-1][1].reason


def test_a_swing_on_a_board_that_still_warms_up_is_not_settled_before_three_time_constants() -> None:
    warming = _warming(500, 30)
    verdicts = _Board(temp_c=lambda time_s: warming(time_s) + 3 * (time_s % 60) / 60).run(4000)
    time_s, _ = _first_settled(verdicts)
    assert time_s >= 3 * 500
    assert _answers(verdicts, 3500) == {Answer.SETTLED}


def test_a_swing_that_grows_is_not_settled() -> None:
    def growing(time_s: float) -> float:
        return 60 + time_s / 300 * ((time_s % 120) / 60 - 1)

    assert Answer.SETTLED not in _answers(_Board(temp_c=growing).run(1700), 900)


def test_a_swing_that_ceases_is_not_settled_until_a_window_of_rest_is_full() -> None:
    def ceasing(time_s: float) -> float:
        return 30.0 if time_s < 1500 and time_s % 60 < 30 else 20.0

    verdicts = _Board(latency_ms=ceasing, temp_c=lambda _: 80.0).run(2400)
    assert _at(verdicts, 1490).answer is Answer.SETTLED
    assert Answer.SETTLED not in {verdict.answer for time_s, verdict in verdicts if 1600 < time_s < 1700}
    assert verdicts[-1][1].answer is Answer.SETTLED
    assert verdicts[-1][1].median_ms == pytest.approx(20, abs=0.1)


# What it cannot know


def test_without_a_thermometer_latency_alone_settles_but_only_after_three_time_constants() -> None:
    time_s, verdict = _first_settled(_Board(temp_c=None).run(2000))
    assert time_s == pytest.approx(1500, abs=_BLOCK_S)
    assert "latency alone" in verdict.reason


def test_a_thermometer_that_comes_and_goes_cannot_say() -> None:
    steady = SteadyState()
    for second in range(400):
        steady.add(second, 20.0, 60.0 if second % 20 < 10 else None)
    assert steady.verdict().answer is Answer.CANNOT_SAY
    assert steady.verdict().reason == "temperature in only 15 of the last 30 blocks"


def test_a_measurement_with_holes_cannot_say() -> None:
    steady = SteadyState()
    for second in range(1000):
        if second < 100 or second > 850:
            steady.add(second, 20.0, 60.0)
    assert steady.verdict().answer is Answer.CANNOT_SAY
    assert "samples in only" in steady.verdict().reason


def test_noise_that_hides_any_trend_cannot_say() -> None:
    early = [verdict for time_s, verdict in _Board(noise_ms=12.0, temp_c=lambda _: 60.0).run(500) if time_s >= 300]
    unsure = [verdict for verdict in early if verdict.answer is Answer.CANNOT_SAY]
    assert len(unsure) > len(early) / 2
    assert "latency is too restless" in unsure[0].reason
    assert Answer.SETTLED not in {verdict.answer for verdict in early}


def test_moderate_noise_only_needs_a_longer_window() -> None:
    verdicts = _Board(noise_ms=1.5, temp_c=lambda _: 60.0).run(2000)
    assert _answers(verdicts, 1200) == {Answer.SETTLED}
    assert verdicts[-1][1].median_ms == pytest.approx(20, abs=0.3)


# What it takes


@pytest.mark.parametrize(
    ("time_s", "latency_ms", "temp_c", "found"),
    [
        (math.nan, 20.0, 60.0, "time_s"),
        (1.0, math.inf, 60.0, "latency_ms"),
        (1.0, 20.0, math.nan, "temp_c"),
        (-1.0, 20.0, 60.0, "time_s"),
    ],
)
def test_nonsense_is_refused(time_s: float, latency_ms: float, temp_c: float, found: str) -> None:
    steady = SteadyState()
    steady.add(0.0, 20.0, 60.0)
    with pytest.raises(ValueError, match=f"^{found}: expected"):
        steady.add(time_s, latency_ms, temp_c)


def test_memory_is_bounded_however_long_it_runs() -> None:
    steady = SteadyState(SteadyLimits(window_s=3.0, longest_tau_s=5.0))
    for index in range(2_000):
        steady.add(index / 10, 20.0, 60.0)
    assert len(steady._blocks) == 180
    assert len(steady._latencies_ms) <= 2
    assert steady.verdict().answer is Answer.SETTLED
