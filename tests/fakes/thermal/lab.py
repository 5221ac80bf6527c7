"""Runs controllers on simulated boards and scores them: the logic behind scripts/thermal-lab.

All runs stand side by side in arrays, so an hour of hundreds of boards takes about a minute. Frames are simulated
one by one: each starts at its deadline (by the rule of `edgeapp/vision/pacing.py`) or when the one before is done,
takes its own time at the clock of each moment, and heats while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeapp.thermal.readings import ThermalReading
from edgeapp.types import ThrottleFlags
from tests.fakes.thermal.controllers import Controller
from tests.fakes.thermal.oracle import STEP_S, Weather
from tests.fakes.thermal.plant import Floats, Plant
from tests.fakes.thermal.scenarios import Noise, Samples, Scenario

PERIOD_S, SAMPLE_HZ = 2.0, 4.0
_STEPS, _STEPS_PER_SAMPLE = round(PERIOD_S / STEP_S), round(1 / SAMPLE_HZ / STEP_S)
_SAMPLES = _STEPS // _STEPS_PER_SAMPLE
_FRAME_NOISES = 4096
_RECENT_FRAMES = 8
_TINY_S = 1e-9
_CHANGE = 0.01  # of the rate: less is not counted, so that a rate told in times of an inference counts fairly
_RATIO_BIN, _RATIO_BINS = 0.005, 1600


class Frames:
    """The inferences of several boards, each with its deadline. Times in s."""

    def __init__(
        self,
        infer_s: Floats,
        wanted_fps: Floats,
        noise: npt.NDArray[np.float32],
        jostle: npt.NDArray[np.float32],
    ) -> None:
        count = len(infer_s)
        self._infer_s, self._noise, self._jostle = infer_s, noise, jostle
        self._period_s: Floats = 1 / wanted_fps
        self._due_s: Floats = np.zeros(count)
        self._left_s: Floats = np.zeros(count)  # of the running inference, at the full clock
        self._began_s: Floats = np.zeros(count)
        self._is_busy = np.zeros(count, dtype=bool)
        self._recent_s: Floats = np.full((_RECENT_FRAMES, count), np.nan)
        self._ratios = np.zeros((count, _RATIO_BINS), dtype=np.int64)
        self._columns = np.arange(count)
        self.done = np.zeros(count, dtype=np.int64)

    def set_rate(self, rate_fps: Floats) -> None:
        """Move the deadline that stands to one new period after the last one."""
        period_s = 1 / rate_fps
        self._due_s += period_s - self._period_s
        self._period_s = period_s

    def advance(self, now_s: float, dt_s: float, speed: Floats) -> Floats:
        """From `now_s` on for `dt_s` at the speeds; the time each board spent inferring."""
        left_s: Floats = np.full(len(speed), dt_s)
        busy_s: Floats = np.zeros(len(speed))
        end_s = now_s + dt_s
        while True:
            need_s = np.where(self._is_busy, self._left_s / speed, np.maximum(self._due_s - (end_s - left_s), 0.0))
            spent_s = np.minimum(need_s, left_s)
            happens = need_s <= left_s
            left_s = left_s - spent_s
            worked_s = np.where(self._is_busy, spent_s, 0.0)
            busy_s += worked_s
            self._left_s -= worked_s * speed
            was_busy = self._is_busy.copy()
            self._finish(np.flatnonzero(happens & was_busy), end_s - left_s)
            self._start(np.flatnonzero(happens & ~was_busy), end_s - left_s)
            if not (left_s > _TINY_S).any():
                return busy_s

    def _finish(self, who: npt.NDArray[np.intp], now_s: Floats) -> None:
        if not len(who):
            return
        self._is_busy[who] = False
        took_s = now_s[who] - self._began_s[who]
        self._recent_s[self.done[who] % _RECENT_FRAMES, who] = took_s
        bins = np.minimum((took_s / self._infer_s[who] / _RATIO_BIN).astype(np.int64), _RATIO_BINS - 1)
        self._ratios[who, bins] += 1
        self.done[who] += 1

    def _start(self, who: npt.NDArray[np.intp], now_s: Floats) -> None:
        if not len(who):
            return
        self._is_busy[who] = True
        self._began_s[who] = now_s[who]
        factor = self._noise[who, self.done[who] % _FRAME_NOISES]
        seconds = np.minimum(now_s[who].astype(np.int64), self._jostle.shape[1] - 1)
        self._left_s[who] = self._infer_s[who] * factor * self._jostle[who, seconds]
        self._due_s[who] = np.maximum(self._due_s[who], now_s[who] - self._period_s[who]) + self._period_s[who]

    def median_s(self) -> Floats:
        """The median time of the last frames; NaN before the first."""
        median_s = np.full(self._recent_s.shape[1], np.nan)
        some = self.done > 0
        if some.any():
            median_s[some] = np.nanmedian(self._recent_s[:, some], axis=0)
        return median_s

    def p99_ratio(self) -> Floats:
        """The 99th percentile of an inference's time over that at the full clock."""
        cumulated = self._ratios.cumsum(axis=1)
        first = (cumulated >= 0.99 * cumulated[:, -1:]).argmax(axis=1)
        return np.asarray((first + 1) * _RATIO_BIN, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Job:
    """One controller on one scenario with one seed."""

    scenario: Scenario
    make: Callable[[], Controller]
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """How it went: sums, and per period of 2 s the die's mean temperature, the frames and the rate."""

    scenario: Scenario
    controller: Controller
    seconds: float
    frames: int
    throttled_s: float
    max_c: float
    p99_ratio: float
    changes: int
    temp_c: Floats
    frames_by_period: Floats
    rate_fps: Floats
    throttled_by_period: npt.NDArray[np.bool_]

    @property
    def changes_per_min(self) -> float:
        return self.changes / self.seconds * 60


def run(
    jobs: Sequence[Job], seconds: float, progress: Callable[[Iterable[int]], Iterable[int]] = lambda periods: periods
) -> list[Run]:
    """Run all jobs side by side; `progress` may wrap the periods to show how far it is."""
    scenarios = [job.scenario for job in jobs]
    controllers = [job.make() for job in jobs]
    periods = int(seconds / PERIOD_S)
    weather = Weather(scenarios, seconds)
    plant = Plant([each.board for each in scenarios], weather.ambient_c[0])
    noises = [
        Noise.drawn(job.scenario, job.seed, periods * _SAMPLES, _FRAME_NOISES, periods, int(seconds)) for job in jobs
    ]
    wanted_fps = np.array([each.wanted_fps for each in scenarios])
    frames = Frames(
        np.array([each.infer_s for each in scenarios]),
        wanted_fps,
        np.array([each.frame for each in noises]),
        np.array([each.jostle for each in noises]),
    )
    duty_noise = np.array([each.duty for each in noises])
    sensor_c, follows = plant.die_c.copy(), STEP_S / np.maximum([each.lag_s for each in scenarios], STEP_S)
    sensor_noise = np.array([each.sensor for each in noises])
    step_c = np.array([each.step_c for each in scenarios])
    spoilers = [_Spoiler(job.scenario, noise.fault) for job, noise in zip(jobs, noises, strict=True)]
    count = len(jobs)
    rate_fps, changes = wanted_fps.copy(), np.zeros(count, dtype=np.int64)
    throttled_s, max_c = np.zeros(count), np.full(count, -np.inf)
    temp_by_period, frames_by_period, rate_by_period = (np.zeros((periods, count)) for _ in range(3))
    throttled_by_period = np.zeros((periods, count), dtype=bool)
    for index, (controller, spoiler) in enumerate(zip(controllers, spoilers, strict=True)):
        # The first decision is made before the first frame.
        idle_c = float(np.round(plant.die_c[index] / step_c[index]) * step_c[index])
        reading = ThermalReading(
            at_s=0.0,
            samples_c=spoiler.spoil(0.0, (idle_c,) * _SAMPLES),
            duty=0.0,
            infer_ms=None,
            flags=ThrottleFlags() if scenarios[index].has_flags else None,
            wanted_fps=scenarios[index].wanted_fps,
        )
        rate_fps[index] = controller.rate_fps(reading)
    frames.set_rate(rate_fps)
    for period in progress(range(periods)):
        busy_s, sum_c = np.zeros(count), np.zeros(count)
        done = frames.done.copy()
        samples = np.zeros((_SAMPLES, count))
        for step in range(_STEPS):
            now_s = period * PERIOD_S + step * STEP_S
            second = int(now_s + STEP_S / 2)
            plant.fan_works = weather.fan_works(second)
            step_busy_s = frames.advance(now_s, STEP_S, plant.speed)
            plant.advance(STEP_S, step_busy_s / STEP_S, weather.ambient_c[second], weather.other_w[second])
            sensor_c += follows * (plant.die_c - sensor_c)
            busy_s += step_busy_s
            sum_c += plant.die_c
            np.maximum(max_c, plant.die_c, out=max_c)
            throttled_s += plant.is_throttled * STEP_S
            throttled_by_period[period] |= plant.is_throttled
            if step % _STEPS_PER_SAMPLE == _STEPS_PER_SAMPLE - 1:
                sample = step // _STEPS_PER_SAMPLE
                noisy_c = sensor_c + sensor_noise[:, period * _SAMPLES + sample]
                samples[sample] = np.round(noisy_c / step_c) * step_c
        at_s = (period + 1) * PERIOD_S
        infer_s, throttled, soft = frames.median_s(), plant.is_throttled, plant.is_soft_limited
        next_fps = np.empty(count)
        for index, (controller, spoiler) in enumerate(zip(controllers, spoilers, strict=True)):
            flags = ThrottleFlags(throttled=bool(throttled[index]), soft_limit=bool(soft[index]))
            reading = ThermalReading(
                at_s=at_s,
                samples_c=spoiler.spoil(at_s, tuple(samples[:, index].tolist())),
                duty=float(busy_s[index] * duty_noise[index, period]) / PERIOD_S,
                infer_ms=None if np.isnan(infer_s[index]) else float(infer_s[index]) * 1e3,
                flags=flags if scenarios[index].has_flags else None,
                wanted_fps=scenarios[index].wanted_fps,
            )
            next_fps[index] = controller.rate_fps(reading)
        changes += np.abs(next_fps - rate_fps) > _CHANGE * rate_fps
        rate_fps = next_fps
        frames.set_rate(rate_fps)
        temp_by_period[period] = sum_c / _STEPS
        frames_by_period[period] = frames.done - done
        rate_by_period[period] = rate_fps
    p99_ratio = frames.p99_ratio()
    return [
        Run(
            scenario=scenarios[index],
            controller=controllers[index],
            seconds=seconds,
            frames=int(frames.done[index]),
            throttled_s=float(throttled_s[index]),
            max_c=float(max_c[index]),
            p99_ratio=float(p99_ratio[index]),
            changes=int(changes[index]),
            temp_c=temp_by_period[:, index],
            frames_by_period=frames_by_period[:, index],
            rate_fps=rate_by_period[:, index],
            throttled_by_period=throttled_by_period[:, index],
        )
        for index in range(count)
    ]


class _Spoiler:
    """Applies a scenario's sensor fault to its samples."""

    def __init__(self, scenario: Scenario, random: np.random.Generator) -> None:
        self._fault, self._random = scenario.fault, random
        self._began_c: float | None = None

    def spoil(self, at_s: float, samples: Samples) -> Samples:
        fault = self._fault
        if fault is None or not fault.from_s <= at_s <= fault.until_s:
            return samples
        if self._began_c is None:
            self._began_c = samples[0] or 0.0
        return fault.spoil(samples, self._began_c, self._random)
