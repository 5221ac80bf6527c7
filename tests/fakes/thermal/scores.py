"""Scores runs against the oracle: the figures of scripts/thermal-lab and of the tests.

A scenario's figures over several seeds: the frames are the mean, all else is the worst seed's. `throttled_s` of a
whole is the sum over its scenarios, per seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeapp.thermal.governor import Governor
from edgeapp.thermal.readings import ThermalReading
from edgeapp.types import ThrottleFlags
from tests.fakes.thermal import lab
from tests.fakes.thermal.controllers import CONTROLLERS, TARGET_C, Governed
from tests.fakes.thermal.lab import PERIOD_S, Job, Run
from tests.fakes.thermal.oracle import Optimum, oracle
from tests.fakes.thermal.plant import Floats
from tests.fakes.thermal.scenarios import FAULTS, HOUR_S, SCENARIOS, SWEEP, random_boards

Progress = Callable[[Iterable[int]], Iterable[int]]
_RECOVERED = 0.95


@dataclass(frozen=True, slots=True)
class Score:
    """One scenario under one controller; `frames_ratio` is the share of the oracle's frames."""

    name: str
    frames_ratio: float
    throttled_s: float
    max_c: float
    p99_ratio: float
    changes_per_min: float


@dataclass(frozen=True, slots=True)
class Scores:
    """All scenarios under one controller."""

    scenarios: tuple[Score, ...]
    mean_ratio: float
    min_ratio: float
    throttled_s: float


@dataclass(frozen=True, slots=True)
class BoardScores:
    """Random boards: shares of the oracle's frames, and time throttled in an hour of work."""

    n: int
    mean: float
    p5: float
    min: float
    throttled_s_per_h: float
    max_c: float


@dataclass(frozen=True, slots=True)
class FaultScore:
    """One failing thermometer.

    `back_s`: how long after its return it is trusted; None where it does not return. `wanted_pct`: the frames done, of
    those wanted.
    """

    name: str
    throttled_pct: float
    max_c: float
    blind_s: float
    wanted_pct: float
    back_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that scripts/thermal-lab tells, and the runs and the optimum to draw."""

    governor: Scores
    boards: BoardScores
    faults: tuple[FaultScore, ...]
    controllers: dict[str, Scores]
    sweep: dict[str, Scores]
    recovery_s: float
    step_us: float
    runs: tuple[Run, ...]
    optimum: Optimum


def measure(boards: int, seeds: int, progress: Progress, step_us: float) -> Report:
    """Run everything side by side for an hour of simulated time."""
    random, changed = random_boards(boards), [each for part in SWEEP.values() for each in part]
    jobs = [Job(each, make, 0) for make in CONTROLLERS.values() for each in SCENARIOS]
    more_seeds = [Job(each, Governed, seed) for seed in range(1, seeds) for each in SCENARIOS]
    faulty = [Job(each, Governed) for each in FAULTS]
    swept = [Job(each, Governed) for each in changed]
    drawn = [Job(each, Governed) for each in random]
    optimum = oracle([*SCENARIOS, *random], HOUR_S, TARGET_C)
    runs = lab.run([*jobs, *more_seeds, *faulty, *drawn], HOUR_S, progress)
    best, others = oracle(changed, HOUR_S, TARGET_C), lab.run(swept, HOUR_S, progress)
    count, many = len(SCENARIOS), len(jobs)
    per_controller = {name: runs[index * count : (index + 1) * count] for index, name in enumerate(CONTROLLERS)}
    ours = [*per_controller["governor"], *runs[many : many + len(more_seeds)]]
    fault_runs = runs[many + len(more_seeds) : many + len(more_seeds) + len(faulty)]
    return Report(
        governor=score(ours, optimum),
        boards=score_boards(runs[len(runs) - len(drawn) :], optimum.frames[count:]),
        faults=tuple(score_fault(run) for run in fault_runs),
        controllers={name: score(part, optimum) for name, part in per_controller.items()},
        sweep={
            name: score(others[at : at + count], Optimum(best.frames[at : at + count], best.frames_by_period))
            for name, at in zip(SWEEP, range(0, len(others), count), strict=True)
        },
        recovery_s=recovery_s(per_controller["governor"], optimum),
        step_us=step_us,
        runs=tuple(per_controller["governor"]),
        optimum=optimum,
    )


def score(runs: Sequence[Run], optimum: Optimum) -> Scores:
    """Score runs of the same scenarios, in the oracle's order, seed by seed."""
    count = len({run.scenario.name for run in runs})
    scores, ratios = [], []
    for index in range(count):
        part = runs[index::count]
        ratios += [run.frames / optimum.frames[index] for run in part]
        scores.append(
            Score(
                name=part[0].scenario.name,
                frames_ratio=float(np.mean(ratios[-len(part) :])),
                throttled_s=max(run.throttled_s for run in part),
                max_c=max(run.max_c for run in part),
                p99_ratio=max(run.p99_ratio for run in part),
                changes_per_min=max(run.changes_per_min for run in part),
            )
        )
    seeds = len(runs) // count
    return Scores(
        tuple(scores), float(np.mean(ratios)), float(min(ratios)), sum(run.throttled_s for run in runs) / seeds
    )


def score_boards(runs: Sequence[Run], optimum_frames: Floats) -> BoardScores:
    """Score one run of each random board."""
    ratios = [run.frames / frames for run, frames in zip(runs, optimum_frames, strict=True)]
    return BoardScores(
        n=len(runs),
        mean=float(np.mean(ratios)),
        p5=float(np.percentile(ratios, 5)),
        min=min(ratios),
        throttled_s_per_h=sum(run.throttled_s for run in runs) / sum(run.seconds for run in runs) * HOUR_S,
        max_c=max(run.max_c for run in runs),
    )


def score_fault(run: Run) -> FaultScore:
    """Score one run whose thermometer fails."""
    fault, controller = run.scenario.fault, run.controller
    assert fault is not None, "a run with a fault"
    assert isinstance(controller, Governed), "a governed run"
    blind = np.array(controller.blind[1:])
    back_s = None
    if fault.until_s < run.seconds:
        seeing = np.flatnonzero(~blind[int(fault.until_s / PERIOD_S) :])
        back_s = (float(seeing[0]) + 1) * PERIOD_S if len(seeing) else math.inf
    return FaultScore(
        name=run.scenario.name,
        throttled_pct=100 * run.throttled_s / run.seconds,
        max_c=run.max_c,
        blind_s=float(blind.sum()) * PERIOD_S,
        wanted_pct=100 * run.frames / (run.scenario.wanted_fps * run.seconds),
        back_s=back_s,
    )


def recovery_s(runs: Sequence[Run], optimum: Optimum) -> float:
    """By how much later than the oracle the governor is fast again, after the air cooled from 50 to 20 °C."""
    index = next(i for i, run in enumerate(runs) if "from 50 to 20" in run.scenario.name)
    half = len(runs[index].rate_fps) // 2
    best_fps = optimum.frames_by_period[half:, index] / PERIOD_S
    goal_fps = _RECOVERED * best_fps[-30:].mean()
    return float(np.argmax(runs[index].rate_fps[half:] >= goal_fps) - np.argmax(best_fps >= goal_fps)) * PERIOD_S


def usual_readings(count: int) -> list[ThermalReading]:
    """Readings of a hot board whose temperature wanders, to time a step with."""
    return [
        ThermalReading(
            at_s=2.0 * index,
            samples_c=tuple(74 + 3 * math.sin(index / 20) + 0.5 * ((index * 7 + sample) % 3) for sample in range(8)),
            duty=0.4,
            infer_ms=80.0 + index % 5,
            flags=ThrottleFlags(),
            wanted_fps=10.0,
        )
        for index in range(count)
    ]


def step_all(governor: Governor, readings: Iterable[ThermalReading]) -> None:
    """Step through readings."""
    for reading in readings:
        governor.step(reading)
