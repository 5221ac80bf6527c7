"""What the boards go through: 17 scenarios, random boards, and thermometers that fail.

Every scenario is a board, a model, a wanted rate, the air around it and other work, all as plain values. The wanted
rates are mostly above what the board can sustain: then the heat decides, and that is what is measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from tests.fakes.thermal import plant
from tests.fakes.thermal.plant import Board

HOUR_S = 3600.0
Samples = tuple[float | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """A thermometer that fails from `from_s` until `until_s`.

    `spoil` gets the true samples, the temperature when the fault began, and random numbers.
    """

    from_s: float
    until_s: float
    spoil: Callable[[Samples, float, np.random.Generator], Samples]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """One board at work. `ambient` are corners (time in s, °C) of a line; `burst` is period, length and power.

    `infer_s` is the time of an inference at the full clock. `jostle`: other processes run for so long at a time, with
    pauses of so long, in s in the mean, and lengthen inferences by up to this share meanwhile. `lag_s`: how far the
    thermometer follows behind; `duty_noise`: the relative error of the measured duty.
    """

    name: str
    board: Board
    infer_s: float
    wanted_fps: float
    ambient: tuple[tuple[float, float], ...]
    burst: tuple[float, float, float] | None = None
    fan_fails_at_s: float = math.inf
    fault: Fault | None = None
    has_flags: bool = True
    noise_c: float = 0.3
    step_c: float = 0.5
    frame_noise: float = 0.02
    jostle: tuple[float, float, float] | None = None
    lag_s: float = 0.0
    duty_noise: float = 0.0

    def ambient_c(self, at_s: float) -> float:
        times, values = zip(*self.ambient, strict=True)
        return float(np.interp(at_s, times, values))

    def other_w(self, at_s: float) -> float:
        if self.burst is None:
            return 0.0
        period_s, length_s, power_w = self.burst
        return power_w if at_s % period_s >= period_s - length_s else 0.0


def _steady(ambient_c: float) -> tuple[tuple[float, float], ...]:
    return ((0.0, ambient_c),)


def _day() -> tuple[tuple[float, float], ...]:
    """A day between 15 and 45 °C, run through in an hour."""
    return tuple((s, 30 - 15 * math.cos(math.tau * s / HOUR_S)) for s in np.linspace(0, HOUR_S, 49).tolist())


PI_3B_PLUS = Scenario(name="3B+ 25 °C", board=plant.PI_3B_PLUS, infer_s=0.16, wanted_fps=10, ambient=_steady(25))
PI_4 = Scenario(name="Pi 4 20 °C", board=plant.PI_4_BARE, infer_s=0.08, wanted_fps=15, ambient=_steady(20))
PI_4_FLIRC = replace(PI_4, name="Pi 4 Flirc 25 °C", board=plant.PI_4_FLIRC, ambient=_steady(25))
PI_5 = Scenario(name="Pi 5 20 °C", board=plant.PI_5_BARE, infer_s=0.035, wanted_fps=30, ambient=_steady(20))
PI_5_COOLER = replace(PI_5, name="Pi 5 cooler 25 °C", board=plant.PI_5_COOLER, ambient=_steady(25))
ZERO = Scenario(name="Zero 2 W 25 °C", board=plant.PI_ZERO_2W, infer_s=0.3, wanted_fps=5, ambient=_steady(25))

SCENARIOS = (
    PI_3B_PLUS,
    replace(PI_3B_PLUS, name="3B+ 45 °C", ambient=_steady(45)),
    PI_4,
    replace(PI_4, name="Pi 4 -5 °C", ambient=_steady(-5)),
    replace(PI_4, name="Pi 4 40 °C", ambient=_steady(40)),
    replace(PI_4, name="Pi 4 800 ms model 35 °C", infer_s=0.8, wanted_fps=2, ambient=_steady(35)),
    PI_4_FLIRC,
    replace(PI_4_FLIRC, name="Pi 4 Flirc 45 °C", ambient=_steady(45)),
    replace(PI_4, name="Pi 4 sealed box, sun", board=plant.PI_4_BOX, ambient=_steady(35)),
    replace(PI_4, name="Pi 4 a day 15-45 °C", ambient=_day()),
    replace(PI_4_FLIRC, name="Pi 4 Flirc from 50 to 20 °C", ambient=((0, 50), (1800, 50), (1801, 20))),
    replace(PI_4, name="Pi 4 bursts of 1.2 W", ambient=_steady(30), burst=(120, 20, 1.2)),
    PI_5,
    PI_5_COOLER,
    replace(PI_5_COOLER, name="Pi 5 cooler 55 °C", ambient=_steady(55)),
    replace(PI_5_COOLER, name="Pi 5 fan fails", fan_fails_at_s=1200),
    ZERO,
)


def _other_die(scenario: Scenario, share: float) -> Scenario:
    board = scenario.board
    return replace(scenario, board=replace(board, die_k_per_w=share * board.die_k_per_w))


# The same scenarios on boards, thermometers and clocks that are not quite as expected: 2.7 and 3.4 K/W on a Pi 4.
SWEEP: dict[str, tuple[Scenario, ...]] = {
    "die 7 % nearer the board": tuple(_other_die(each, 0.93) for each in SCENARIOS),
    "die 17 % further from the board": tuple(_other_die(each, 1.17) for each in SCENARIOS),
    "thermometer in steps of 1 °C, little noise": tuple(replace(each, step_c=1.0, noise_c=0.05) for each in SCENARIOS),
    "thermometer 2 s late": tuple(replace(each, lag_s=2.0) for each in SCENARIOS),
    "duty off by 5 %": tuple(replace(each, duty_noise=0.05) for each in SCENARIOS),
}

_MIN_FPS = 0.2
_HOTTEST_C = 68.0  # at the lowest rate, before leakage and other work


def random_boards(count: int) -> tuple[Scenario, ...]:
    """Boards, models and climates drawn at random, wide around what is sold; the same ones each time.

    None is too hot for the lowest rate: nothing could hold the target then.
    """
    random = np.random.default_rng(2026)
    return tuple(_random_board(f"board {index}", random) for index in range(count))


def _random_board(name: str, random: np.random.Generator) -> Scenario:
    dynamic_w = float(random.uniform(1.2, 8.0))
    jump_c = float(random.uniform(5.0, 20.0))  # of the die at full duty
    rise_c = float(random.uniform(15.0, 60.0))  # of the board at full duty
    k_per_w = rise_c / dynamic_w
    infer_s = float(np.exp(random.uniform(math.log(0.025), math.log(0.8))))
    idle_w = float(random.uniform(0.2, 0.4)) * dynamic_w
    drift_c = float(random.uniform(-10.0, 10.0))
    least_c = idle_w * (k_per_w + jump_c / dynamic_w) + _MIN_FPS * infer_s * (rise_c + jump_c)
    low_c = min(float(random.uniform(-5.0, 50.0)), _HOTTEST_C - least_c - max(drift_c, 0.0))
    board = Board(
        name=name,
        idle_w=idle_w,
        dynamic_w=dynamic_w,
        leak_w=float(random.uniform(0.02, 0.08)) * dynamic_w,
        die_k_per_w=jump_c / dynamic_w,
        board_k_per_w=(k_per_w,) * 5,
        board_s=float(random.uniform(60, 500)),
        die_s=float(random.uniform(0.6, 1.6)),
        clock_min=float(random.uniform(0.35, 0.7)),
        voltage_slope=float(random.uniform(0.15, 0.5)),
    )
    return Scenario(
        name=name,
        board=board,
        infer_s=infer_s,
        wanted_fps=float(random.uniform(0.4, 1.3)) / infer_s,
        ambient=((0.0, low_c), (HOUR_S, low_c + drift_c)),
        burst=(float(random.uniform(60, 300)), 20.0, 0.15 * dynamic_w) if random.random() < 0.3 else None,
        noise_c=float(random.uniform(0.1, 0.6)),
        step_c=float(random.choice([0.1, 0.5, 1.0])),
        frame_noise=float(random.uniform(0.005, 0.04)),
    )


def _missing(samples: Samples, began_c: float, random: np.random.Generator) -> Samples:
    return (None,) * len(samples)


def _half_missing(samples: Samples, began_c: float, random: np.random.Generator) -> Samples:
    return tuple(None if random.random() < 0.5 else each for each in samples)


def _spikes(samples: Samples, began_c: float, random: np.random.Generator) -> Samples:
    spikes = random.choice([-127.0, 0.0, 20.0, 100.0, 200.0], len(samples)).tolist()
    return tuple(spike if random.random() < 0.2 else each for each, spike in zip(samples, spikes, strict=True))


def _absurd(samples: Samples, began_c: float, random: np.random.Generator) -> Samples:
    return tuple(random.choice([-127.0, 0.0, 850.0, math.nan, math.inf], len(samples)).tolist())


def _noise(samples: Samples, began_c: float, random: np.random.Generator) -> Samples:
    return tuple(random.uniform(-30, 110, len(samples)).tolist())


def _stuck(samples: Samples, began_c: float, random: np.random.Generator) -> Samples:
    return (began_c,) * len(samples)


_HOT = replace(PI_4, ambient=_steady(35))
FAULTS: tuple[Scenario, ...] = tuple(
    replace(_HOT, name=name, fault=Fault(from_s=from_s, until_s=until_s, spoil=spoil), has_flags=has_flags)
    for name, from_s, until_s, spoil, has_flags in (
        ("never a thermometer", 0.0, math.inf, _missing, True),
        ("never a thermometer, no flags", 0.0, math.inf, _missing, False),
        ("goes away at work", 1200.0, 3000.0, _missing, True),
        ("goes away at work, no flags", 1200.0, 3000.0, _missing, False),
        ("half of the reads fail", 600.0, 3000.0, _half_missing, True),
        ("a fifth are spikes", 600.0, 3000.0, _spikes, True),
        ("absurd values", 1200.0, 3000.0, _absurd, True),
        ("nothing but noise", 1200.0, 3000.0, _noise, True),
        ("stuck at work", 1200.0, 3000.0, _stuck, True),
        ("stuck while heating", 20.0, 3000.0, _stuck, True),
        ("stuck while heating, no flags", 20.0, 3000.0, _stuck, False),
    )
)
# A cool board that nothing tells about, and whose other work makes inferences up to 40 % longer a third of the time.
_COOL = replace(FAULTS[1], wanted_fps=10, ambient=_steady(-5))
FAULTS += (
    replace(_COOL, name="never, no flags, cool"),
    replace(_COOL, name="never, no flags, cool and busy", jostle=(10.0, 25.0, 0.4)),
)


@dataclass(frozen=True, slots=True)
class Noise:
    """The random numbers of one run, drawn beforehand so that they do not depend on what runs beside it.

    `sensor` per sample in °C; `frame` per frame and `jostle` per second, factors of an inference's time; `duty` per
    period, factors of the measured duty.
    """

    sensor: np.ndarray[tuple[int], np.dtype[np.float32]]
    frame: np.ndarray[tuple[int], np.dtype[np.float32]]
    jostle: np.ndarray[tuple[int], np.dtype[np.float32]]
    duty: np.ndarray[tuple[int], np.dtype[np.float32]]
    fault: np.random.Generator = field(compare=False)

    @classmethod
    def drawn(cls, scenario: Scenario, seed: int, samples: int, frames: int, periods: int, seconds: int) -> Noise:
        sensor, frame, fault, jostle, duty = np.random.default_rng([seed, len(scenario.name)]).spawn(5)
        return cls(
            (scenario.noise_c * sensor.standard_normal(samples)).astype(np.float32),
            np.clip(1 + scenario.frame_noise * frame.standard_normal(frames), 0.5, 1.5).astype(np.float32),
            _jostled(scenario.jostle, seconds, jostle),
            (1 + scenario.duty_noise * duty.standard_normal(periods)).astype(np.float32),
            fault,
        )


def _jostled(
    jostle: tuple[float, float, float] | None, seconds: int, random: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """By how much other processes lengthen the inferences of each second: now they run, now they pause."""
    factors = np.ones(seconds, dtype=np.float32)
    at_s = 0.0
    while jostle is not None and at_s < seconds:
        began_s = at_s + random.exponential(jostle[1])
        at_s = began_s + random.exponential(jostle[0])
        factors[int(began_s) : int(at_s) + 1] = 1 + random.uniform(0, jostle[2])
    return factors
