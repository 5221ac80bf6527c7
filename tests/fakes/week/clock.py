"""The time of a week in fast motion, in a file that the drill and its daemon both map.

The daemon's pipeline carries true time on, the drill says what the device's own clock makes of it. Between two looks of
the pipeline time passes `speed` times as fast as it really does, but at most a third of a quarter of an hour: a second
in which the machine does something else is no quarter of an hour that nobody observed. Monotonic time stays real, since
vision, a process of its own, stamps its frames with it.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from pathlib import Path

from edgeapp.system.clock import SystemClock

CLOCK_FILE = "EDGEAPP_WEEK_CLOCK"  # in the environment of the daemon
_TRUE, _OFFSET, _SYNCHRONISED, _CROWDS, _SPEED = range(0, 40, 8)
_MOST_PER_LOOK_S = 300.0
_PIPELINE = "pipeline"  # the name of the daemon's thread that looks at least four times a second


class SharedTime:
    """True time and the device's error, as numbers in a file. Each number has one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(40))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 40)

    def _get(self, field: int) -> float:
        value: float = struct.unpack_from("<d", self._map, field)[0]
        return value

    def _set(self, field: int, value: float) -> None:
        struct.pack_into("<d", self._map, field, value)

    @property
    def true_s(self) -> float:
        """True time, Unix seconds. The daemon's while it runs, the drill's otherwise."""
        return self._get(_TRUE)

    @true_s.setter
    def true_s(self, value: float) -> None:
        self._set(_TRUE, value)

    @property
    def offset_s(self) -> float:
        """How far the device's clock is ahead of the truth."""
        return self._get(_OFFSET)

    @property
    def is_synchronised(self) -> bool:
        return bool(self._get(_SYNCHRONISED))

    @property
    def speed(self) -> float:
        """Seconds a second."""
        return self._get(_SPEED)

    @speed.setter
    def speed(self, value: float) -> None:
        self._set(_SPEED, value)

    @property
    def crowds(self) -> int:
        """How many crowds have been sent past the camera."""
        return round(self._get(_CROWDS))

    def send_crowd(self) -> None:
        """Let a crowd pass."""
        self._set(_CROWDS, self.crowds + 1)

    def set_clock(self, offset_s: float, *, is_synchronised: bool) -> None:
        """What the device's clock shows from now on. Who reads that it is synchronised reads the right offset."""
        self._set(_SYNCHRONISED, 0.0)
        self._set(_OFFSET, offset_s)
        self._set(_SYNCHRONISED, float(is_synchronised))


class FastClock(SystemClock):
    """Wall time of the device. Only the pipeline's looks carry it on, and read both halves of a reading together."""

    def __init__(self, shared: SharedTime) -> None:
        self._shared = shared
        self._looked_ns: int | None = None
        self._read_synchronised = shared.is_synchronised

    def wall_s(self) -> float:
        if threading.current_thread().name == _PIPELINE:
            self._look()
            self._read_synchronised = self._shared.is_synchronised
        return self._shared.true_s + self._shared.offset_s

    def is_synchronised(self) -> bool:
        is_pipeline = threading.current_thread().name == _PIPELINE
        return self._read_synchronised if is_pipeline else self._shared.is_synchronised

    def _look(self) -> None:
        now_ns = time.monotonic_ns()
        if self._looked_ns is not None:
            passed_s = (now_ns - self._looked_ns) / 1e9 * self._shared.speed
            self._shared.true_s += min(passed_s, _MOST_PER_LOOK_S)
        self._looked_ns = now_ns
