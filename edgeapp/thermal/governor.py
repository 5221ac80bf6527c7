"""How fast to infer so that the chip stays below its limit; pure.

The rule in one sentence: we subtract the heat we know we cause, see how much room is left below the target, and fill
exactly that room. The die follows its power within a second or two, the board and its case within minutes; so the
temperature less `rise_c` times the duty changes slowly whatever the rate does, and the duty that fills the room can be
told at once instead of being felt for.

Owns that rule and what to do without a thermometer (blind). Whether the thermometer can be believed is `readings.py`'s,
the state and the words are `decision.py`'s; reading sensors and setting the rate are left to others. Guarantees a rate
that is never above the wanted one, and never below `min_fps` unless less is wanted.
"""

from __future__ import annotations

import math
from collections import deque

from edgeapp.config import ThermalConfig
from edgeapp.thermal.blind import Blind
from edgeapp.thermal.decision import (
    LimitedBy,
    Situation,
    Source,
    StateKeeper,
    ThermalCounters,
    ThermalDecision,
    ThermalState,
)
from edgeapp.thermal.readings import SensorJudge, ThermalReading, WindowTemp
from edgeapp.types import ThrottleFlags

# Smoothing of the rest, the temperature without our own heat: quick to see trouble, slow to believe small relief.
_REST_UP, _REST_DOWN, _RELIEF_C = 0.8, 0.2, 2.0
# What the rest is off by in the mean, through that smoothing and the deadband, is learnt slowly and added again.
_BIAS_PER_S, _BIAS_MAX_C = 0.01, 0.7
# How far single frames heat the die above the mean: believed quickly, forgotten slowly.
_PEAK_BELOW_C, _PEAK_UP, _PEAK_DOWN = 1.0, 0.3, 0.02
_DEAD_C = 0.5  # changes worth less than this wait too: at low duties 10 % is less than the sensor's noise
_OVER_C, _OVER_SHARE = 0.7, 0.3  # above the target by this, a smaller step down is taken
# After a change the next one must be worth more, so that a surge of other work costs few of them.
_CALM_C, _CALM_S = 2, 30
# How far our work warms the die is learnt from our own changes of this size, made while the die stood this still;
# only where a period holds several inferences, and up to this factor from what is configured.
_LEARN, _LEARN_DUTY, _LEARN_STILL_C, _LEARN_SPAN, _LEARN_INFER = 0.3, 0.15, 0.7, 2.0, 0.25
# Throttled below the target for longer than the firmware's own lag: then its limit is lower than we think.
_TRIM_STEP_C, _TRIM_MAX_C, _TRIM_FADE_C_PER_S = 0.5, 6.0, 0.5 / 1800
_TRIM_BELOW_C, _TRIM_AFTER_S = 1.0, 10.0
_CAP_NEAR_C = 6.0  # a capped clock further below the limit than this has other causes than heat
_MAX_STEP_S = 30.0  # a longer pause between two steps tells nothing of what was in between
_MAX_WINDOW_S, _FRAMES_PER_WINDOW = 20.0, 2.0
_BLIND_FACTOR = 0.8
_LEAST_INFER_MS = 1e-3  # nothing infers in less than a microsecond


class Governor:
    """Decides the rate: one step before the first frame, and one at the end of each `period_s`."""

    def __init__(self, limits: ThermalConfig) -> None:
        self._limits = limits
        self._judge = SensorJudge(limits)
        self._states = StateKeeper(limits)
        self._at_s: float | None = None
        self._rate_fps: float | None = None
        self._is_cut = False
        self._infer_s: float | None = None
        self._window: deque[tuple[float, WindowTemp, float]] = deque()  # (length in s, temperature, duty), newest last
        self._temp_c: float | None = None
        self._rest_c: float | None = None
        self._changed_s = -math.inf
        self._rise_c = limits.rise_c
        self._periods: deque[tuple[float, float]] = deque(maxlen=4)
        self._bias_c = self._peak_c = self._trim_c = 0.0
        self._contradicted_s = 0.0
        self._blind: Blind | None = None
        self._throttled_s = self._lowest_s = 0.0  # how long at a stretch
        self._seconds_throttled = self._seconds_blind = self._seconds_under_voltage = 0.0
        self._rate_changes = 0
        self._seen_flags = ThrottleFlags()

    def forget_inference_time(self) -> None:
        """Another model runs from now on: its inferences take another time, for another reason than heat."""
        self._infer_s = None

    def step(self, reading: ThermalReading) -> ThermalDecision:
        """Decide on the period that ends now."""
        dt_s = self._advance(reading.at_s)
        if reading.infer_ms is not None and _LEAST_INFER_MS <= reading.infer_ms < math.inf:
            self._infer_s = reading.infer_ms / 1e3
        duty = self._measured_duty(reading.duty)
        flags = reading.flags
        # Under-voltage sets the same bit; it is an alarm of its own and no reason to infer less.
        is_throttled = flags is not None and bool(flags.throttled) and not flags.under_voltage
        window = self._judge.see(
            reading.samples_c,
            began_s=reading.at_s - dt_s,
            at_s=reading.at_s,
            heat_c=self._limits.rise_c * duty,
            is_throttled=is_throttled,
            may_stand=flags is not None and not self._is_cut,
        )
        if window is not None and dt_s > 0:
            self._enter(dt_s, window, duty)
        if self._judge.fault:
            rate_fps = self._steer_blind(reading, is_throttled)
        else:
            self._blind = None
            is_throttled = is_throttled or self._is_capped_by_heat(flags)
            rate_fps = self._steer(reading.at_s, reading.wanted_fps, dt_s, is_throttled, is_new=window is not None)
        self._set_rate(reading.at_s, rate_fps, reading.wanted_fps)
        self._count(dt_s, flags, is_throttled, reading.wanted_fps)
        return self._decision(reading)

    def _advance(self, at_s: float) -> float:
        """The length of the period in s; 0 where the clock did not move on."""
        last_s, self._at_s = self._at_s, at_s
        if last_s is None:
            return self._limits.period_s
        return min(max(at_s - last_s, 0.0), _MAX_STEP_S)

    def _measured_duty(self, duty: float) -> float:
        if math.isfinite(duty):
            return min(max(duty, 0.0), 1.0)
        return min(1.0, (self._rate_fps or 0.0) * (self._infer_s or 0.0))

    def _inference_s(self, wanted_fps: float) -> float:
        """The time of an inference; before the first one, as if the wanted rate took all the time there is."""
        return self._infer_s if self._infer_s is not None else 1 / wanted_fps

    # --- with a thermometer

    def _enter(self, dt_s: float, window: WindowTemp, duty: float) -> None:
        """Enter a period; at low rates several make a window, as a single one would show single frames' heat."""
        limits = self._limits
        if self._infer_s is not None and self._infer_s < _LEARN_INFER * dt_s:
            self._learn_rise(window.mean_c, duty)
        self._window.append((dt_s, window, duty))
        length_s = min(max(limits.period_s, _FRAMES_PER_WINDOW / (self._rate_fps or math.inf)), _MAX_WINDOW_S)
        total_s = math.fsum(each[0] for each in self._window)
        while total_s - self._window[0][0] >= length_s:
            total_s -= self._window.popleft()[0]
        self._temp_c = temp_c = math.fsum(each[0] * each[1].mean_c for each in self._window) / total_s
        rest_c = temp_c - self._rise_c * math.fsum(each[0] * each[2] for each in self._window) / total_s
        change_c = 0.0 if self._rest_c is None else rest_c - self._rest_c
        share = _REST_UP if change_c > 0 or change_c < -_RELIEF_C else _REST_DOWN
        self._rest_c = rest_c if self._rest_c is None else self._rest_c + share * change_c
        peak_c = max(each[1].peak_c for each in self._window) - temp_c
        self._peak_c += (_PEAK_UP if peak_c > self._peak_c else _PEAK_DOWN) * (peak_c - self._peak_c)
        self._trim_c = max(0.0, self._trim_c - _TRIM_FADE_C_PER_S * dt_s)
        if self._is_cut:
            bias_c = self._bias_c + _BIAS_PER_S * dt_s * (self._target_c - temp_c)
            self._bias_c = min(max(bias_c, -_BIAS_MAX_C), _BIAS_MAX_C)

    def _learn_rise(self, temp_c: float, duty: float) -> None:
        """How far our own work warms the die: only what it did while nothing else moved the temperature tells."""
        self._periods.append((temp_c, duty))
        before = list(self._periods)[:-2]
        if not before:
            return
        moved = duty - before[-1][1]
        is_still = len(before) < 2 or abs(before[-1][0] - before[-2][0]) < _LEARN_STILL_C
        if abs(moved) < _LEARN_DUTY or not is_still or abs(duty - self._periods[-2][1]) > abs(moved) / 3:
            return
        rise_c = (temp_c - before[-1][0]) / moved
        low_c, high_c = self._limits.rise_c / _LEARN_SPAN, self._limits.rise_c * _LEARN_SPAN
        if low_c / 2 < rise_c < high_c * 1.5:
            self._rise_c += _LEARN * (min(max(rise_c, low_c), high_c) - self._rise_c)

    @property
    def _target_c(self) -> float:
        """What the mean is held at: the target, or less where single frames heat the die up to the limit."""
        limits = self._limits
        return min(limits.target_c, limits.throttle_c - _PEAK_BELOW_C - self._peak_c) - self._trim_c

    def _is_capped_by_heat(self, flags: ThrottleFlags | None) -> bool:
        """A capped clock or a soft limit, if it is the heat's doing.

        Under-voltage caps the clock of a cool chip too. Bit 3 means 60 °C on a 3B+, which costs little and is there
        all the time at the target, and 80 °C and more on a Pi 4.
        """
        if flags is None or flags.under_voltage or self._temp_c is None:
            return False
        below_c = self._limits.throttle_c - self._temp_c
        return (bool(flags.freq_capped) and below_c < _CAP_NEAR_C) or (bool(flags.soft_limit) and below_c <= 0)

    def _steer(self, at_s: float, wanted_fps: float, dt_s: float, is_throttled: bool, *, is_new: bool) -> float:
        """The rate that fills the room below the target; small changes wait, as does a window that tells nothing."""
        limits, rate_fps = self._limits, self._rate_fps
        if self._temp_c is None or self._rest_c is None or not is_new:
            return wanted_fps if rate_fps is None else rate_fps
        is_contradicted = is_throttled and self._temp_c < limits.target_c + _TRIM_BELOW_C
        self._contradicted_s = self._contradicted_s + dt_s if is_contradicted else 0.0
        if self._contradicted_s > _TRIM_AFTER_S:
            self._trim_c = min(self._trim_c + _TRIM_STEP_C, _TRIM_MAX_C)
        room = (self._target_c + self._bias_c - self._rest_c) / self._rise_c
        infer_s = self._inference_s(wanted_fps)
        is_full = room >= min(1.0, wanted_fps * infer_s)
        allowed_fps = wanted_fps if is_full else max(room, 0.0) / infer_s
        if rate_fps is None or (is_full and rate_fps < wanted_fps):
            return allowed_fps
        dead_c = _DEAD_C + _CALM_C * math.exp(min(self._changed_s - at_s, 0.0) / _CALM_S)
        dead_fps = max(limits.deadband_pct / 100 * rate_fps, dead_c / self._rise_c / infer_s)
        if allowed_fps < rate_fps and self._temp_c > self._target_c + _OVER_C:
            dead_fps *= _OVER_SHARE if self._temp_c < limits.throttle_c else 0.0
        return rate_fps if abs(allowed_fps - rate_fps) < dead_fps else allowed_fps

    # --- blind

    def _steer_blind(self, reading: ThermalReading, is_throttled: bool) -> float:
        """The rate without a thermometer; small changes wait."""
        wanted_fps, flags = reading.wanted_fps, reading.flags
        infer_s = self._inference_s(wanted_fps)
        full_duty = min(1.0, wanted_fps * infer_s)
        if self._blind is None:
            self._blind = self._go_blind(reading.at_s, full_duty, infer_s, has_flags=flags is not None)
        if flags is None:
            duty = self._blind.feel(reading.at_s, full_duty, infer_s)
        else:
            # Under-voltage hides whether the firmware throttles for heat: then neither faster nor slower.
            duty = self._blind.follow_flags(
                reading.at_s, full_duty, is_throttled=is_throttled, may_rise=not flags.under_voltage
            )
        if duty >= full_duty:
            return wanted_fps
        allowed_fps, rate_fps = duty / infer_s, self._rate_fps
        is_small = rate_fps is not None and abs(allowed_fps - rate_fps) < self._limits.deadband_pct / 200 * rate_fps
        return allowed_fps if rate_fps is None or not is_small else rate_fps

    def _go_blind(self, at_s: float, full_duty: float, infer_s: float, *, has_flags: bool) -> Blind:
        duty = start_duty = self._limits.blind_start_duty_pct / 100
        if self._judge.was_seen and self._rate_fps is not None:
            duty = min(self._rate_fps * infer_s, full_duty) * _BLIND_FACTOR
            duty = duty if has_flags else min(duty, start_duty)
        most = 1.0 if self._judge.was_seen else duty
        return Blind(self._limits, at_s, duty=duty, most=most, is_hot=self._judge.was_seen and self._is_cut)

    # --- what is told

    def _set_rate(self, at_s: float, allowed_fps: float, wanted_fps: float) -> None:
        rate_fps = min(max(allowed_fps, self._limits.min_fps), wanted_fps)
        if self._rate_fps is not None and rate_fps != self._rate_fps:
            self._rate_changes += 1
            self._changed_s = at_s
        self._rate_fps = rate_fps
        self._is_cut = rate_fps < wanted_fps

    def _count(self, dt_s: float, flags: ThrottleFlags | None, is_throttled: bool, wanted_fps: float) -> None:
        self._throttled_s = self._throttled_s + dt_s if is_throttled else 0.0
        self._seconds_throttled += dt_s if is_throttled else 0.0
        self._seconds_blind += dt_s if self._judge.fault else 0.0
        is_lowest = self._rate_fps is not None and self._rate_fps <= self._limits.min_fps < wanted_fps
        self._lowest_s = self._lowest_s + dt_s if is_lowest else 0.0
        if flags is not None:
            self._seconds_under_voltage += dt_s if flags.under_voltage else 0.0
            self._seen_flags = self._seen_flags.merged(flags)

    def _decision(self, reading: ThermalReading) -> ThermalDecision:
        wanted_fps, fault = reading.wanted_fps, self._judge.fault
        rate_fps = wanted_fps if self._rate_fps is None else self._rate_fps
        temp_c = None if fault else self._temp_c
        infer_s = self._inference_s(wanted_fps)
        missing_duty = max(min(1.0, wanted_fps * infer_s) - min(1.0, rate_fps * infer_s), 0.0)
        situation = Situation(
            rate_fps=rate_fps,
            wanted_fps=wanted_fps,
            temp_c=temp_c,
            target_c=self._target_c,
            full_below_c=self._target_c - self._limits.rise_c * missing_duty,
            throttled_s=self._throttled_s,
            lowest_s=self._lowest_s,
            blind_reason=fault,
            is_under_voltage=reading.flags is not None and reading.flags.under_voltage,
        )
        if self._is_cut:
            limited_by = LimitedBy.BLIND if fault else LimitedBy.HEAT
        else:
            limited_by = LimitedBy.DEMAND if wanted_fps * infer_s < 1 else LimitedBy.NONE
        # Before the first inference a lower rate is mere caution: nothing says yet that it cuts anything.
        is_known = self._infer_s is not None or not fault
        state = self._states.follow(situation, reading.at_s) if is_known else ThermalState.NOMINAL
        return ThermalDecision(
            rate_fps=rate_fps,
            rate_wanted_fps=wanted_fps,
            state=state,
            source=Source.BLIND if fault else Source.SENSOR,
            blind_reason=fault,
            limited_by=limited_by,
            temp_c=temp_c,
            headroom_c=None if temp_c is None else self._target_c - temp_c,
            flags=reading.flags,
            flags_since_start=self._seen_flags,
            counters=ThermalCounters(
                seconds_throttled=self._seconds_throttled,
                seconds_blind=self._seconds_blind,
                seconds_under_voltage=self._seconds_under_voltage,
                rate_changes=self._rate_changes,
            ),
            text=situation.words(state),
        )
