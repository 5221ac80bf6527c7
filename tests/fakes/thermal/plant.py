"""Simulated boards: heat, clock and firmware, many side by side in NumPy.

Owns the physics. A board is two or three lumps of heat: the die (about 1 s), the board with what is screwed to it (60
to 500 s), and, in a closed box, the air around it. Power is drawn by the idle board, by inference (duty x clock x
voltage squared), by other work, and by leakage, which grows with the temperature. The firmware lowers the clock
proportionally from 80 to 85 °C with a lag of 4 s, as the Raspberry Pi's does, takes the 3B+'s step at 60 °C, and
drives the fan of a Pi 5 at 50, 60, 67.5 and 75 °C with 5 °C of hysteresis.

The presets are calibrated on published measurements; `tests/unit/thermal/test_plant.py` holds them to those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

THROTTLE_FROM_C, THROTTLE_FULL_C = 80.0, 85.0
_FIRMWARE_LAG_S = 4.0
_SOFT_LIMIT_C, _SOFT_HYSTERESIS_C = 60.0, 1.0
_FAN_STEPS_C, _FAN_HYSTERESIS_C = (50.0, 60.0, 67.5, 75.0), 5.0
_LEAK_AT_C, _LEAK_PER_C = 60.0, 35.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """One board in its case.

    Power in W: `idle_w` without leakage, of which `idle_die_share` arises in the die; `dynamic_w` for inference at
    full duty and clock; `leak_w` the leakage at 60 °C. Thermal resistances in K/W: die to board, board to air by fan
    level, and enclosure air to outside (0: no enclosure). `clock_min` is the throttled clock as a share of the full
    one, `soft_clock` that beyond 60 °C. `voltage_slope`: how far the voltage falls with the clock, both as shares.
    `memory_share` of the inference time does not depend on the clock.
    """

    name: str
    idle_w: float
    dynamic_w: float
    leak_w: float
    die_k_per_w: float
    board_k_per_w: tuple[float, float, float, float, float]
    board_s: float
    die_s: float = 1.0
    idle_die_share: float = 0.3
    enclosure_k_per_w: float = 0.0
    enclosure_s: float = 600.0
    sun_w: float = 0.0
    clock_min: float = 0.4
    soft_clock: float = 1.0
    voltage_slope: float = 0.3
    memory_share: float = 0.25


def _no_fan(k_per_w: float) -> tuple[float, float, float, float, float]:
    return (k_per_w,) * 5


class Plant:
    """Boards side by side. Every array has one element per board; times in s, temperatures in °C, power in W."""

    def __init__(self, boards: Sequence[Board], ambient_c: Floats) -> None:
        """All boards start as they are after a long idle time at `ambient_c`."""
        column = {
            each.name: np.array([getattr(board, each.name) for board in boards])
            for each in fields(Board)
            if each.name not in ("name", "board_k_per_w")
        }
        self.dynamic_w: Floats = column["dynamic_w"]
        self.leak_w: Floats = column["leak_w"]
        self.die_k_per_w: Floats = column["die_k_per_w"]
        self.memory_share: Floats = column["memory_share"]
        self.soft_clock: Floats = column["soft_clock"]
        self._idle_die_w: Floats = column["idle_w"] * column["idle_die_share"]
        self._idle_board_w: Floats = column["idle_w"] - self._idle_die_w
        self._clock_min: Floats = column["clock_min"]
        self._slope: Floats = column["voltage_slope"]
        self._ladder: Floats = np.array([board.board_k_per_w for board in boards]).T
        self.die_j_per_k: Floats = column["die_s"] / self.die_k_per_w
        self._board_j_per_k: Floats = column["board_s"] / self._ladder[0]
        self._boxed = column["enclosure_k_per_w"] > 0
        self._box_w_per_k: Floats = np.where(self._boxed, 1 / np.maximum(column["enclosure_k_per_w"], 1e-9), 0.0)
        self._box_j_per_k: Floats = np.where(self._boxed, column["enclosure_s"] * self._box_w_per_k, 1.0)
        self._sun_w: Floats = column["sun_w"]
        self._has_fan = self._ladder[0] != self._ladder[4]
        self.fan_works = np.ones(len(boards), dtype=bool)
        self._fan_level = np.zeros(len(boards), dtype=np.int64)
        self._columns = np.arange(len(boards))
        self._soft = np.zeros(len(boards), dtype=bool)
        self._throttle: Floats = np.zeros(len(boards))
        self.die_c: Floats = ambient_c + 10.0
        self.board_c: Floats = ambient_c + 8.0
        self.air_c: Floats = ambient_c.copy()
        self._settle(ambient_c)
        self._update_firmware(0.0)

    def _settle(self, ambient_c: Floats) -> None:
        """The steady state without inference, by iterating on the leakage and the fan."""
        for _ in range(200):
            leak_w = self.leakage_w()
            total_w = self._idle_die_w + self._idle_board_w + leak_w
            box_k_per_w = np.where(self._boxed, 1 / np.maximum(self._box_w_per_k, 1e-9), 0.0)
            self.air_c = ambient_c + box_k_per_w * (total_w + self._sun_w)
            self.board_c = self.air_c + total_w * self._ladder[self._fan_level, self._columns]
            self.die_c = self.board_c + (self._idle_die_w + leak_w) * self.die_k_per_w
            self._drive_fan()

    def leakage_w(self) -> Floats:
        """Leakage at the dies' temperatures; bounded, as no board reaches the regime in which it runs away."""
        return self.leak_w * np.exp(np.minimum(self.die_c - _LEAK_AT_C, 60.0) / _LEAK_PER_C)

    @property
    def clock(self) -> Floats:
        """The clock as a share of the full one."""
        return self._clock

    @property
    def speed(self) -> Floats:
        """Inference speed as a share of that at the full clock: a part of the time waits for memory."""
        return 1 / (self.memory_share + (1 - self.memory_share) / self._clock)

    @property
    def is_throttled(self) -> npt.NDArray[np.bool_]:
        """Whether the firmware lowers the clock for the hard limit; the 3B+'s soft step does not count."""
        return self._throttle > 0.01

    @property
    def is_soft_limited(self) -> npt.NDArray[np.bool_]:
        """Bit 3: the 3B+ beyond 60 °C, and other boards from 80 °C on."""
        return np.where(self.soft_clock < 1, self._soft, self.die_c >= THROTTLE_FROM_C)

    def inference_w(self) -> Floats:
        """The power of inference at full duty, at the present clock."""
        voltage = 1 - self._slope * (1 - self._clock)
        return self.dynamic_w * self._clock * voltage * voltage

    def board_w_per_k(self) -> Floats:
        """How well the board loses heat to the air around it."""
        return 1 / self._ladder[self._fan_level, self._columns]

    def advance(self, dt_s: float, duty: Floats, ambient_c: Floats, other_w: Floats) -> None:
        """One explicit step; `dt_s` must be well below the die's time constant."""
        die_w = self._idle_die_w + self.leakage_w() + duty * self.inference_w() + other_w
        to_board_w = (self.die_c - self.board_c) / self.die_k_per_w
        to_air_w = (self.board_c - self.air_c) * self.board_w_per_k()
        self.die_c = self.die_c + dt_s * (die_w - to_board_w) / self.die_j_per_k
        self.board_c = self.board_c + dt_s * (to_board_w + self._idle_board_w - to_air_w) / self._board_j_per_k
        boxed_w = to_air_w + self._sun_w - (self.air_c - ambient_c) * self._box_w_per_k
        self.air_c = np.where(self._boxed, self.air_c + dt_s * boxed_w / self._box_j_per_k, ambient_c)
        self._update_firmware(dt_s)
        self._drive_fan()

    def holding_duty(self, dt_s: float, target_c: float, other_w: Floats) -> Floats:
        """The duty that brings the die to the target in one step; below 0 or above 1 where that cannot be."""
        wanted_w = (target_c - self.die_c) * self.die_j_per_k / dt_s + (self.die_c - self.board_c) / self.die_k_per_w
        return (wanted_w - self._idle_die_w - self.leakage_w() - other_w) / self.inference_w()

    def _update_firmware(self, dt_s: float) -> None:
        demand = np.clip((self.die_c - THROTTLE_FROM_C) / (THROTTLE_FULL_C - THROTTLE_FROM_C), 0.0, 1.0)
        self._throttle = self._throttle + (demand - self._throttle) * (dt_s / _FIRMWARE_LAG_S)
        self._soft = self.die_c > np.where(self._soft, _SOFT_LIMIT_C - _SOFT_HYSTERESIS_C, _SOFT_LIMIT_C)
        allowed = np.where(self._soft, self.soft_clock, 1.0)
        self._clock: Floats = np.minimum(allowed, 1 - self._throttle * (1 - self._clock_min))

    def _drive_fan(self) -> None:
        up = np.searchsorted(_FAN_STEPS_C, self.die_c, side="right")
        down = np.searchsorted(_FAN_STEPS_C, self.die_c + _FAN_HYSTERESIS_C, side="right")
        level = np.clip(self._fan_level, up, down)
        self._fan_level = np.where(self._has_fan & self.fan_works, level, 0)


PI_3B_PLUS = Board(
    name="3B+",
    idle_w=1.7,
    dynamic_w=3.1,
    leak_w=0.3,
    die_k_per_w=3.3,
    board_k_per_w=_no_fan(9.5),
    board_s=160,
    clock_min=0.6 / 1.4,
    soft_clock=1.2 / 1.4,
    voltage_slope=0.5,
)
PI_4_BARE = Board(
    name="Pi 4",
    idle_w=2.05,
    dynamic_w=2.9,
    leak_w=0.25,
    die_k_per_w=2.9,
    board_k_per_w=_no_fan(10.5),
    board_s=200,
)
PI_4_FLIRC = replace(PI_4_BARE, name="Pi 4 in a Flirc case", board_k_per_w=_no_fan(7.0), board_s=480)
# Only a closed box for outdoors: its air is warmed by the board and by the sun.
PI_4_BOX = replace(
    PI_4_FLIRC, name="Pi 4 in a sealed box in the sun", enclosure_k_per_w=1.6, enclosure_s=900, sun_w=7.0
)
PI_5_BARE = Board(
    name="Pi 5",
    idle_w=2.05,
    dynamic_w=7.4,
    leak_w=0.45,
    die_k_per_w=2.6,
    board_k_per_w=_no_fan(7.8),
    board_s=90,
    clock_min=1.5 / 2.4,
    voltage_slope=0.45,
)
PI_5_COOLER = replace(
    PI_5_BARE,
    name="Pi 5 with Active Cooler",
    die_k_per_w=1.7,
    board_k_per_w=(5.0, 3.0, 2.4, 2.0, 1.7),
    board_s=140,
)
PI_ZERO_2W = Board(
    name="Zero 2 W in its case",
    idle_w=0.66,
    dynamic_w=1.35,
    leak_w=0.055,
    die_k_per_w=4.85,
    board_k_per_w=_no_fan(30.5),
    board_s=225,
    clock_min=0.6,
    voltage_slope=0.2,
)
