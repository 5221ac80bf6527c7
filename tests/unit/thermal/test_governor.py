"""The governor's rules, step by step, and what holds whatever it is told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.config import ThermalConfig
from edgeapp.thermal.decision import LimitedBy, Source, ThermalDecision, ThermalState
from edgeapp.thermal.governor import Governor
from edgeapp.thermal.readings import ThermalReading, ThrottleFlags

LIMITS = ThermalConfig()
NO_FLAGS = ThrottleFlags()
THROTTLED = ThrottleFlags(throttled=True)


class Device:
    """A governor that is told of a device which keeps the rate, one step every 2 s."""

    def __init__(
        self, *, infer_ms: float | None = 80.0, wanted_fps: float = 10.0, limits: ThermalConfig = LIMITS
    ) -> None:
        self.governor = Governor(limits)
        self.infer_ms, self.wanted_fps = infer_ms, wanted_fps
        self.at_s, self.steps = 500.0, 0
        self.rate_fps = wanted_fps

    @property
    def duty(self) -> float:
        return min(1.0, self.rate_fps * (self.infer_ms or 0.0) / 1e3)

    def step(
        self,
        temp_c: float | None,
        flags: ThrottleFlags | None = NO_FLAGS,
        *,
        duty: float | None = None,
    ) -> ThermalDecision:
        self.at_s += 2
        self.steps += 1
        wiggle = 0.01 * (self.steps % 2)  # a real sensor never stands quite still
        samples = (None,) * 8 if temp_c is None else (temp_c - wiggle, temp_c + wiggle) * 4
        decision = self.governor.step(
            ThermalReading(
                at_s=self.at_s,
                samples_c=samples,
                duty=self.duty if duty is None else duty,
                infer_ms=self.infer_ms,
                flags=flags,
                wanted_fps=self.wanted_fps,
            )
        )
        self.rate_fps = decision.rate_fps
        return decision

    def run(self, seconds: float, temp_c: float | None, flags: ThrottleFlags | None = NO_FLAGS) -> ThermalDecision:
        for _ in range(round(seconds / 2)):
            decision = self.step(temp_c, flags)
        return decision


# --- with a thermometer


def test_a_cool_device_runs_at_the_wanted_rate_and_never_changes_it() -> None:
    device = Device()
    decisions = [device.step(55 + index % 3) for index in range(200)]
    assert {each.rate_fps for each in decisions} == {10.0}
    assert decisions[-1].counters.rate_changes == 0
    assert (decisions[-1].state, decisions[-1].limited_by) == (ThermalState.NOMINAL, LimitedBy.DEMAND)
    assert decisions[-1].source is Source.SENSOR


@pytest.mark.parametrize(
    ("temp_c", "duty", "fps"),
    [
        # rest = temperature - 14 x duty; room = (76 - rest) / 14; rate = room / 0.08 s
        (76.0, 0.4, 5.0),
        (69.0, 0.0, 6.25),
        (76.0, 0.8, 10.0),
        (80.0, 0.8, (0.8 - 4 / 14) / 0.08),
        (90.0, 0.8, 0.2),
        (76.0, 0.0, 0.2),
    ],
)
def test_the_first_decision_fills_the_room_below_the_target(temp_c: float, duty: float, fps: float) -> None:
    assert Device().step(temp_c, duty=duty).rate_fps == pytest.approx(fps, abs=0.02)


def test_a_model_that_runs_flat_out_is_limited_by_nothing() -> None:
    decision = Device(infer_ms=200.0).step(50.0)
    assert (decision.rate_fps, decision.limited_by) == (10.0, LimitedBy.NONE)


def test_before_the_first_inference_the_wanted_rate_counts_as_full_duty() -> None:
    assert Device(infer_ms=None).step(69.0, duty=0.0).rate_fps == pytest.approx(5.0, abs=0.02)


def test_a_small_change_waits_and_a_large_one_does_not() -> None:
    device = Device()
    device.step(76.0, duty=0.4)
    assert device.step(76.3, duty=0.4).rate_fps == pytest.approx(5.0, abs=0.02)
    assert device.step(78.0, duty=0.4).rate_fps < 4.2


def test_heat_is_believed_faster_than_relief() -> None:
    device = Device()
    device.run(60, 76.0)
    before = device.rate_fps
    after_heat = device.step(77.5).rate_fps
    assert after_heat < before - 0.9
    device.run(10, 76.0)
    steady = device.rate_fps
    assert device.step(74.5).rate_fps - steady < (before - after_heat) / 2


def test_a_large_drop_is_recovered_from_within_10_s() -> None:
    device = Device(infer_ms=90.0)
    device.run(300, 80.0)
    assert device.rate_fps == LIMITS.min_fps
    assert device.run(10, 50.0).rate_fps == 10.0


def test_what_is_measured_as_duty_counts_and_not_what_was_allowed() -> None:
    """Behind a closed motion gate there is little heat of ours in the temperature."""
    device = Device()
    for _ in range(30):
        busy = device.step(76.0, duty=0.6)
    idle = Device()
    for _ in range(30):
        still = idle.step(76.0, duty=0.02)
    assert still.rate_fps < 1 < 7 < busy.rate_fps


def test_the_wanted_rate_may_fall_and_rise_at_any_time() -> None:
    device = Device()
    device.step(50.0)
    device.wanted_fps = 3.0
    assert device.step(50.0).rate_fps == 3.0
    device.wanted_fps = 12.0
    assert device.step(50.0).rate_fps == 12.0
    device.wanted_fps = 0.1
    assert device.run(20, 90.0).rate_fps == 0.1


def test_single_frames_that_heat_the_die_to_the_limit_lower_what_is_held() -> None:
    governor = Governor(LIMITS)
    for index in range(60):
        samples = (73.0, 76.0, 79.0, 82.0, 80.0, 77.0, 74.0, 73.0)
        reading = ThermalReading(
            at_s=2.0 * index, samples_c=samples, duty=0.5, infer_ms=700.0, flags=NO_FLAGS, wanted_fps=1.0
        )
        decision = governor.step(reading)
    assert decision.temp_c == 76.75
    assert decision.headroom_c is not None
    assert decision.headroom_c == pytest.approx(80 - 1 - (82 - 76.75) - 76.75, abs=0.05)


# --- the firmware


def test_throttled_below_the_target_for_10_s_lowers_what_is_held_by_6_degrees_at_most() -> None:
    device = Device()
    device.run(20, 70.0)
    assert device.step(70.0, THROTTLED).headroom_c == pytest.approx(6, abs=0.1)
    assert device.run(8, 70.0, THROTTLED).headroom_c == pytest.approx(6, abs=0.1), "the firmware lags by itself"
    assert device.run(60, 70.0, THROTTLED).headroom_c == pytest.approx(0, abs=0.1)
    assert device.run(3600, 70.0).headroom_c == pytest.approx(1, abs=0.1), "fades by half a degree in 30 minutes"


def test_under_voltage_never_lowers_the_rate() -> None:
    flags = ThrottleFlags(under_voltage=True, freq_capped=True, throttled=True)
    device = Device()
    decisions = [device.step(60.0 + index % 2, flags) for index in range(300)]
    assert {each.rate_fps for each in decisions} == {10.0}
    assert decisions[-1].state is ThermalState.NOMINAL
    assert decisions[-1].counters.seconds_under_voltage == 600
    assert decisions[-1].counters.seconds_throttled == 0
    assert "under-voltage: check the power supply" in decisions[-1].text


@pytest.mark.parametrize(
    ("flags", "temp_c", "seconds"),
    [
        (THROTTLED, 60.0, 100),
        (ThrottleFlags(freq_capped=True), 73.0, 0),
        (ThrottleFlags(freq_capped=True), 75.0, 100),
        (ThrottleFlags(soft_limit=True), 76.0, 0),
        (ThrottleFlags(soft_limit=True), 81.0, 100),
        (None, 81.0, 0),
    ],
)
def test_only_what_the_heat_does_counts_as_throttled(
    flags: ThrottleFlags | None, temp_c: float, seconds: float
) -> None:
    device = Device(limits=dataclasses.replace(LIMITS, stuck_s=3600.0))
    assert device.run(100, temp_c, flags).counters.seconds_throttled == seconds


def test_the_flags_since_the_start_are_kept() -> None:
    device = Device()
    device.step(60.0, THROTTLED)
    decision = device.step(60.0, ThrottleFlags(soft_limit=True))
    assert decision.flags == ThrottleFlags(soft_limit=True)
    assert decision.flags_since_start == ThrottleFlags(throttled=True, soft_limit=True)


# --- states through the governor


def test_the_states_of_a_device_that_heats_up_and_cools_down() -> None:
    device = Device()
    seen = [device.run(30, temp_c).state.value for temp_c in (50, 73, 78, 81, 50, 50)]
    assert seen == ["nominal", "warm", "hot", "critical", "nominal", "nominal"]


def test_a_minute_at_the_lowest_rate_is_critical() -> None:
    device = Device()
    assert device.run(40, 79.0).state is ThermalState.HOT
    decision = device.run(80, 79.0)
    assert decision.state is ThermalState.CRITICAL
    assert "at the lowest rate" in decision.text


# --- blind


def test_without_a_thermometer_from_the_start_half_of_the_time_is_the_most() -> None:
    device = Device()
    decisions = [device.step(None) for _ in range(300)]
    assert max(each.rate_fps for each in decisions[1:]) == pytest.approx(0.5 / 0.08)
    assert decisions[-1].source is Source.BLIND
    assert (decisions[-1].blind_reason, decisions[-1].limited_by) == ("no thermometer", LimitedBy.BLIND)
    assert decisions[-1].temp_c is None
    assert decisions[-1].headroom_c is None
    assert decisions[-1].text == "hot: 6.2 of 10 fps, blind: no thermometer"


def test_a_thermometer_that_goes_away_costs_a_fifth_at_first_and_then_less() -> None:
    device = Device()
    device.run(60, 76.0)
    before = device.rate_fps
    assert device.step(None).rate_fps == before, "2 s are no fault yet"
    assert device.step(None).rate_fps == pytest.approx(0.8 * before)
    assert device.run(18, None).rate_fps == pytest.approx(0.8 * before)
    assert 0.85 * before < device.run(60, None).rate_fps < 0.95 * before
    assert device.run(600, None).rate_fps == 10.0


def test_a_sign_of_throttling_costs_a_blind_device_a_fifth_every_20_s() -> None:
    device = Device(infer_ms=50.0)
    device.run(60, 76.0)
    before = device.run(24, None).rate_fps
    first = device.step(None, THROTTLED).rate_fps
    assert first == pytest.approx(0.8 * before, rel=0.03)
    assert device.run(18, None, THROTTLED).rate_fps == first
    assert device.step(None, THROTTLED).rate_fps == pytest.approx(0.64 * before, rel=0.03)


def test_under_voltage_leaves_a_blind_rate_as_it_is() -> None:
    device = Device()
    device.run(60, 76.0)
    before = device.run(4, None).rate_fps
    flags = ThrottleFlags(under_voltage=True, throttled=True)
    assert device.run(600, None, flags).rate_fps == before


def test_with_neither_thermometer_nor_flags_a_device_rests_now_and_then() -> None:
    device = Device()
    rates = [device.step(None, None).rate_fps for _ in range(60)]
    assert rates[1] == pytest.approx(0.5 / 0.08)
    assert min(rates) == pytest.approx(0.25 * 0.5 / 0.08)


def test_a_new_model_is_not_taken_for_throttling() -> None:
    device = Device(wanted_fps=2.0)
    device.run(60, None, None)
    device.infer_ms = 120.0
    device.governor.forget_inference_time()
    assert max(device.step(None, None).rate_fps for _ in range(200)) == 2.0


def test_a_coarse_thermometer_of_a_cool_device_costs_no_frame() -> None:
    device = Device()
    for index in range(900):
        reading = ThermalReading(
            at_s=2.0 * index, samples_c=(55.0,) * 8, duty=0.8, infer_ms=80.0, flags=NO_FLAGS, wanted_fps=10.0
        )
        decision = device.governor.step(reading)
        assert decision.rate_fps == 10.0
    assert decision.counters.rate_changes == 0


def test_sight_returns_within_10_s() -> None:
    device = Device()
    device.run(60, 60.0)
    device.run(60, None)
    decisions = [device.step(60.0) for _ in range(5)]
    assert [each.source.value for each in decisions] == ["blind", "blind", "sensor", "sensor", "sensor"]
    assert decisions[-1].rate_fps == 10.0
    assert decisions[-1].counters.seconds_blind == pytest.approx(62, abs=2)


# --- whatever it is told

garbage = st.none() | st.floats() | st.sampled_from([0.0, 60.0, 76.0, 79.9, -127.0, 85.0, 1e308])
readings = st.builds(
    ThermalReading,
    at_s=st.floats(-10, 1e6),
    samples_c=st.lists(garbage, max_size=10).map(tuple),
    duty=st.floats(),
    infer_ms=st.none() | st.floats() | st.floats(1, 3000),
    flags=st.none() | st.builds(ThrottleFlags, under_voltage=st.booleans(), throttled=st.booleans()),
    wanted_fps=st.floats(0.05, 240),
)
configs = st.builds(
    ThermalConfig,
    target_c=st.floats(50, 79),
    rise_c=st.floats(5, 40),
    min_fps=st.floats(0.01, 30),
    deadband_pct=st.floats(0, 50),
    blind_start_duty_pct=st.floats(1, 100),
    inflation_limit=st.floats(1.01, 3),
    stuck_s=st.floats(30, 3600),
)


def floats_of(decision: ThermalDecision) -> Iterable[float]:
    yield from (decision.rate_fps, decision.counters.seconds_throttled, decision.counters.seconds_blind)
    yield from (each for each in (decision.temp_c, decision.headroom_c) if each is not None)


@settings(max_examples=150)
@given(configs, st.lists(readings, min_size=1, max_size=25))
def test_whatever_is_read_the_rate_stays_within_its_limits(limits: ThermalConfig, told: list[ThermalReading]) -> None:
    governor = Governor(limits)
    for reading in told:
        decision = governor.step(reading)
        assert min(limits.min_fps, reading.wanted_fps) <= decision.rate_fps <= reading.wanted_fps
        assert all(math.isfinite(each) for each in floats_of(decision))
        assert decision.text


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(20, 100), st.floats(0, 1)), min_size=2, max_size=20))
def test_a_decision_depends_on_what_was_read_alone(told: list[tuple[float, float]]) -> None:
    one, other = Device(), Device()
    for temp_c, duty in told:
        assert one.step(temp_c, duty=duty) == other.step(temp_c, duty=duty)


def test_a_clock_that_stands_still_or_runs_back_harms_nothing() -> None:
    device = Device()
    device.run(20, 60.0)
    device.at_s -= 100
    assert device.run(20, 60.0).rate_fps == 10.0
