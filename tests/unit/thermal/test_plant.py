"""The simulated boards agree with what was published about real ones, and their physics hold together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.fakes.thermal import plant
from tests.fakes.thermal.lab import Frames
from tests.fakes.thermal.oracle import STEP_S, oracle
from tests.fakes.thermal.plant import Board, Floats, Plant
from tests.fakes.thermal.scenarios import PI_4, PI_4_FLIRC

TOLERANCE_C, TOLERANCE_SHARE = 2.0, 0.05


def heated(board: Board, ambient_c: float, duty: float, seconds: int) -> tuple[Plant, Floats]:
    """A board under load from idle, and its die's temperature second by second."""
    one, nothing = Plant([board], np.array([ambient_c])), np.zeros(1)
    temps = [float(one.die_c[0])]
    for _ in range(seconds):
        for _ in range(round(1 / STEP_S)):
            one.advance(STEP_S, np.array([duty]), np.array([ambient_c]), nothing)
        temps.append(float(one.die_c[0]))
    return one, np.array(temps)


@pytest.mark.parametrize(
    ("board", "ambient_c", "duty", "expected_c"),
    [
        # Pi 5 bare at 20 °C: 40 idle, then 82, 84.5 and 86 °C after 1, 2 and 3 minutes; with Active Cooler 55, 58, 60.
        (plant.PI_5_BARE, 20, 1.0, {0: 40, 60: 82, 120: 84.5, 180: 86}),
        (plant.PI_5_COOLER, 20, 1.0, {60: 55, 120: 58, 180: 60}),
        # Pi 4 in a Flirc case: 70 °C in the end.
        (plant.PI_4_FLIRC, 22, 1.0, {2400: 70}),
        # Zero 2 W in its case: 47 °C idle, 80 °C in just under 210 s on four cores, 73 °C in the end on two.
        (plant.PI_ZERO_2W, 25, 1.0, {0: 47, 210: 80}),
        (plant.PI_ZERO_2W, 25, 0.5, {1500: 73}),
    ],
)
def test_boards_are_as_warm_as_published(
    board: Board, ambient_c: float, duty: float, expected_c: dict[int, float]
) -> None:
    _, temps = heated(board, ambient_c, duty, max(expected_c))
    assert {at_s: pytest.approx(temp_c, abs=TOLERANCE_C) for at_s, temp_c in expected_c.items()} == {
        at_s: temps[at_s] for at_s in expected_c
    }


@pytest.mark.parametrize(("board", "idle_w", "full_w"), [(plant.PI_3B_PLUS, 1.9, 5.1), (plant.PI_4_BARE, 2.2, 5.3)])
def test_boards_draw_what_was_published(board: Board, idle_w: float, full_w: float) -> None:
    one = Plant([board], np.array([22.0]))
    still_w = board.idle_w + float(one.leakage_w()[0])
    assert still_w == pytest.approx(idle_w, rel=TOLERANCE_SHARE)
    one.die_c = np.array([59.0])
    assert board.idle_w + float(one.leakage_w()[0]) + board.dynamic_w == pytest.approx(full_w, rel=TOLERANCE_SHARE)


def test_the_die_jumps_by_about_10_degrees_within_seconds() -> None:
    _, temps = heated(plant.PI_4_BARE, 22, 1.0, 5)
    assert temps[5] - temps[0] == pytest.approx(10, abs=TOLERANCE_C)


def test_the_firmware_slows_a_chip_beyond_80_degrees_and_only_then() -> None:
    cool, _ = heated(plant.PI_4_FLIRC, 20, 1.0, 600)
    assert (float(cool.clock[0]), bool(cool.is_throttled[0])) == (1.0, False)
    hot, temps = heated(plant.PI_4_BARE, 40, 1.0, 900)
    assert 80 < temps[-1] < 90
    assert hot.is_throttled[0]
    assert plant.PI_4_BARE.clock_min <= hot.clock[0] < 0.8
    assert hot.speed[0] > hot.clock[0], "a part of the time waits for memory"


def test_a_3b_plus_takes_its_step_at_60_degrees() -> None:
    one, temps = heated(plant.PI_3B_PLUS, 25, 1.0, 600)
    assert 60 < temps[-1] < 80
    assert one.clock[0] == pytest.approx(1.2 / 1.4)
    assert one.is_soft_limited[0]
    assert not one.is_throttled[0]


def test_a_fan_cools_and_a_broken_one_does_not() -> None:
    _, cooled = heated(plant.PI_5_COOLER, 25, 1.0, 600)
    broken = dataclasses.replace(plant.PI_5_COOLER, board_k_per_w=(plant.PI_5_COOLER.board_k_per_w[0],) * 5)
    _, warm = heated(broken, 25, 1.0, 600)
    assert warm[-1] > cooled[-1] + 10


def test_the_sun_warms_a_closed_box() -> None:
    _, sunny = heated(plant.PI_4_BOX, 25, 0.0, 1)
    _, shaded = heated(dataclasses.replace(plant.PI_4_BOX, sun_w=0.0), 25, 0.0, 1)
    assert sunny[-1] - shaded[-1] == pytest.approx(7.0 * plant.PI_4_BOX.enclosure_k_per_w, rel=0.15)


def test_the_oracle_holds_the_target_and_is_beaten_by_no_constant_rate_that_does() -> None:
    optimum = oracle([PI_4], 900, 76.0)
    duties = np.linspace(0.3, 1.0, 29)
    many, ambient_c = Plant([PI_4.board] * len(duties), np.full(len(duties), 20.0)), np.full(len(duties), 20.0)
    highest_c = many.die_c
    for _ in range(round(900 / STEP_S)):
        many.advance(STEP_S, duties, ambient_c, np.zeros(len(duties)))
        highest_c = np.maximum(highest_c, many.die_c)
    best = 900 * duties[highest_c <= 76.05].max() / PI_4.infer_s
    assert 0.8 * optimum.frames[0] < best < optimum.frames[0]


def test_the_oracle_of_a_cool_board_runs_flat_out() -> None:
    assert oracle([PI_4_FLIRC], 300, 76.0).frames[0] == pytest.approx(300 / PI_4_FLIRC.infer_s, rel=1e-6)


def frames(infer_s: float, rate_fps: float, seconds: float, speed: float = 1.0) -> tuple[int, float, float]:
    """How many frames are done, the time spent, and the 99th percentile of their time over the usual."""
    one = Frames(np.array([infer_s]), np.array([rate_fps]), np.ones((1, 4096), np.float32), np.ones((1, 1), np.float32))
    busy_s = sum(
        float(one.advance(step * STEP_S, STEP_S, np.array([speed]))[0]) for step in range(round(seconds / STEP_S))
    )
    return int(one.done[0]), busy_s, float(one.p99_ratio()[0])


@pytest.mark.parametrize(
    ("infer_s", "rate_fps", "speed", "done", "busy_s"),
    [
        (0.04, 10.0, 1.0, 600, 24.0),
        (0.04, 3.7, 1.0, 222, 8.88),
        (0.03, 1000.0, 1.0, 2000, 60.0),
        (0.8, 10.0, 1.0, 75, 60.0),
        (0.04, 10.0, 0.5, 600, 48.0),
        (0.04, 20.0, 0.5, 750, 60.0),
    ],
)
def test_frames_are_counted_one_by_one(infer_s: float, rate_fps: float, speed: float, done: int, busy_s: float) -> None:
    found, found_s, ratio = frames(infer_s, rate_fps, 60.0, speed)
    assert found == pytest.approx(done, abs=1)
    assert found_s == pytest.approx(busy_s, abs=0.8)
    assert ratio == pytest.approx(1 / speed, abs=0.011)
