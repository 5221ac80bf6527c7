"""Which temperatures are believed, and when the thermometer is taken for missing or stuck."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import ThermalConfig
from edgeapp.thermal.readings import SensorJudge, ThrottleFlags, WindowTemp, believable

Samples = tuple[float | None, ...]
GOOD: Samples = (60.0, 60.5, 60.0, 61.0, 60.5, 60.0, 60.5, 61.0)
NONE: Samples = (None,) * 8


@pytest.mark.parametrize(
    ("samples", "kept"),
    [
        ((), []),
        ((None, None), []),
        ((60.0,), [60.0]),
        ((-30.0, -29.0), [-30.0, -29.0]),
        ((-30.1, 110.1, 0.0, math.nan, math.inf, -math.inf, 60.0), [60.0]),
        ((60.0, 61.0, 60.5, 100.0), [60.0, 61.0, 60.5]),
        ((60.0, 61.0, 20.0, 60.5, None), [60.0, 61.0, 60.5]),
        ((60.0, 63.0, 66.0, 69.0, 72.0, 74.0), [60.0, 63.0, 66.0, 69.0, 72.0, 74.0]),
        ((-20.0, 10.0, 40.0, 70.0, 100.0), []),
    ],
)
def test_what_is_no_temperature_is_dropped(samples: Samples, kept: list[float]) -> None:
    assert believable(samples) == kept


@given(st.lists(st.none() | st.floats(allow_nan=True, allow_infinity=True), max_size=12).map(tuple))
def test_whatever_is_read_only_temperatures_are_kept(samples: Samples) -> None:
    assert all(-30 <= each <= 110 and each != 0 for each in believable(samples))


class Watch:
    """A judge that is shown a window every 2 s."""

    def __init__(self) -> None:
        self.judge = SensorJudge(ThermalConfig())
        self.at_s = 100.0

    def see(
        self, samples: Samples, *, heat_c: float = 5.0, is_throttled: bool = False, may_stand: bool = False
    ) -> WindowTemp | None:
        began_s, self.at_s = self.at_s, self.at_s + 2
        return self.judge.see(
            samples,
            began_s=began_s,
            at_s=self.at_s,
            heat_c=heat_c,
            is_throttled=is_throttled,
            may_stand=may_stand,
        )

    def seconds_until_fault(self, samples: Samples, *, heat_c: float = 5.0, is_throttled: bool = False) -> float:
        for window in range(1, 1000):
            self.see(samples, heat_c=heat_c, is_throttled=is_throttled)
            if self.judge.fault:
                return window * 2.0
        return math.inf


def trusting() -> Watch:
    watch = Watch()
    watch.see(GOOD)
    assert watch.judge.fault == ""
    return watch


def test_the_first_good_window_is_believed_at_once() -> None:
    watch = Watch()
    assert watch.judge.fault == "no reading yet"
    assert watch.see(GOOD) == WindowTemp(mean_c=60.4375, peak_c=61.0)
    assert watch.judge.fault == ""


def test_without_a_reading_from_the_start_there_is_no_thermometer() -> None:
    watch = Watch()
    watch.see(NONE)
    watch.see(NONE)
    assert watch.judge.fault == "no thermometer"
    assert not watch.judge.was_seen


@pytest.mark.parametrize("samples", [(), NONE, (61.0, *NONE[:7]), (0.0,) * 8, (200.0,) * 8])
def test_less_than_a_quarter_valid_for_4_s_is_missing(samples: Samples) -> None:
    watch = trusting()
    assert watch.see(samples) is None
    assert watch.judge.fault == "", "2 s are not enough"
    assert watch.see(samples) is None
    assert watch.judge.fault == "no valid reading"


def test_a_quarter_valid_is_enough() -> None:
    assert trusting().seconds_until_fault((60.0, 61.0, *NONE[:6])) == math.inf


def test_trust_returns_after_three_good_windows_in_a_row() -> None:
    watch = trusting()
    assert watch.seconds_until_fault(NONE) == 4
    faults = []
    for samples in (GOOD, GOOD, NONE, GOOD, GOOD, GOOD):
        watch.see(samples)
        faults.append(watch.judge.fault)
    assert faults == ["no valid reading"] * 5 + [""]


def test_the_same_value_for_300_s_is_stuck() -> None:
    assert trusting().seconds_until_fault((61.0,) * 8) == 300


def test_the_same_value_is_no_reason_for_doubt_where_the_rate_is_full_and_the_firmware_would_tell() -> None:
    watch = trusting()
    for _ in range(1000):
        watch.see((61.0,) * 8, may_stand=True)
    assert watch.judge.fault == ""
    for _ in range(3):
        watch.see((61.0,) * 8, may_stand=True, is_throttled=True)
    assert watch.judge.fault == "stuck", "but the firmware's word against it is"


def test_each_false_alarm_doubles_the_patience() -> None:
    watch = trusting()
    for patience_s in (300, 600, 1200):
        assert watch.seconds_until_fault((61.0,) * 8) == patience_s
        for _ in range(3):
            watch.see(GOOD)
        assert watch.judge.fault == ""


def test_a_stuck_value_stays_stuck_until_it_moves() -> None:
    watch = trusting()
    watch.seconds_until_fault((61.0,) * 8, is_throttled=True)
    for _ in range(100):
        watch.see((61.0,) * 8)
    assert watch.judge.fault == "stuck", "that the firmware throttles no more is no sign of life"


def test_the_same_value_while_the_heat_moves_is_stuck_after_10_s_more() -> None:
    watch = trusting()
    watch.see((61.0,) * 8, heat_c=5.0)
    assert watch.seconds_until_fault((61.0,) * 8, heat_c=8.0) == 12
    assert watch.judge.fault == "stuck"


def test_the_same_value_while_the_heat_moves_a_little_is_not_stuck() -> None:
    watch = trusting()
    watch.see((61.0,) * 8, heat_c=5.0)
    assert watch.seconds_until_fault((61.0,) * 8, heat_c=7.9) == 298


@pytest.mark.parametrize(("value_c", "after_s"), [(60.0, 6.0), (77.5, 6.0), (79.0, 300.0)])
def test_a_low_value_that_stands_still_while_the_firmware_throttles_is_stuck(value_c: float, after_s: float) -> None:
    assert trusting().seconds_until_fault((value_c,) * 8, is_throttled=True) == after_s


def test_a_value_that_moves_by_one_step_is_not_stuck() -> None:
    watch = trusting()
    for window in range(1000):
        watch.see((61.0,) * 7 + (61.5 if window % 4 == 0 else 61.0,), heat_c=float(window % 14))
    assert watch.judge.fault == ""


def test_a_stuck_thermometer_is_trusted_again_after_three_windows_that_move() -> None:
    watch = trusting()
    watch.seconds_until_fault((61.0,) * 8)
    faults = []
    for _ in range(3):
        watch.see(GOOD)
        faults.append(watch.judge.fault)
    assert faults == ["stuck", "stuck", ""]


def test_flags_are_merged_one_by_one() -> None:
    one, other = ThrottleFlags(throttled=True), ThrottleFlags(under_voltage=True, soft_limit=True)
    assert one.merged(other) == ThrottleFlags(throttled=True, under_voltage=True, soft_limit=True)
    assert ThrottleFlags(freq_capped=True).merged(one) == ThrottleFlags(throttled=True, freq_capped=True)
