"""What is around the device: a sky that is bright by day and black by night, and a board that gets warm, as files.

The die follows the air and the work at once, the board behind it in some seconds. The work is the rate at which the
daemon lets vision run, as its own status tells.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edgeapp.status import Status
from tests.fakes.week.clock import SharedTime

DAY_S = 86_400
FPS = 12
_SIZE, _SPOT_PX, _FRAMES = (320, 240), 80, 24
_STEP_S = 0.1
DAWN_H, DUSK_H = 6.0, 20.0
_MILD_C, _SUMMER_C, _SWING_C = 12.0, 40.0, 6.0
_IDLE_C, _WORK_C, _BOARD_S = 8.0, 30.0, 4.0
_THROTTLED = 0x4


def write_sky(path: Path, *, is_bright: bool) -> Path:
    """A white square that walks over grey ground within two seconds, or nothing but black."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, _SIZE)
    for index in range(_FRAMES):
        picture = np.full((_SIZE[1], _SIZE[0], 3), 70 if is_bright else 0, np.uint8)
        left = round(index / _FRAMES * (_SIZE[0] - _SPOT_PX))
        if is_bright:
            picture[90:150, left : left + _SPOT_PX] = 255
        writer.write(picture)
    writer.release()
    return path


class Weather(threading.Thread):
    """Use as a context. `sysfs` is the tree that the board's sensors are read from, `video` what the camera sees."""

    def __init__(self, folder: Path, video: Path, shared: SharedTime, status: Callable[[], Status | None]) -> None:
        super().__init__(name="weather", daemon=True)
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._shared, self._status = shared, status
        folder.mkdir(parents=True)
        self._skies = {bright: write_sky(folder / f"{bright}.avi", is_bright=bright) for bright in (True, False)}
        self._video, self._shown, self._is_plugged = video, False, True
        self.sysfs = folder / "sys"
        self._temp = self._make("class/thermal/thermal_zone0", "type", "cpu-thermal", "temp")
        self._make("class/hwmon/hwmon0", "name", "rpi_volt", "in0_lcrit_alarm")
        self._bits = self._make("devices/platform/soc/soc:firmware", "name", "firmware", "get_throttled")
        self.is_summer = False
        self._board_c = self._air_c()
        self._show(False)

    def __enter__(self) -> Weather:
        self._live()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join()

    def unplug(self) -> None:
        """The camera is gone."""
        with self._lock:
            self._is_plugged = False
            self._video.unlink()

    def plug(self) -> None:
        with self._lock:
            self._is_plugged = True
            self._show(self._shown)

    def run(self) -> None:
        while not self._ending.wait(_STEP_S):
            self._live()

    def _live(self) -> None:
        hour = self._shared.true_s % DAY_S / 3600
        is_bright = DAWN_H <= hour < DUSK_H
        with self._lock:
            if is_bright != self._shown:
                self._shown = is_bright
                if self._is_plugged:
                    self._show(is_bright)
        status = self._status()
        duty = min(1.0, status.heat.rate_fps / status.fps_wanted) if status is not None else 0.0
        warm_c = self._air_c() + _IDLE_C + _WORK_C * duty
        self._board_c += _STEP_S / _BOARD_S * (warm_c - self._board_c)
        _write(self._temp, f"{round(self._board_c * 2) * 500}")
        _write(self._bits, f"{_THROTTLED if self._board_c >= 80 else 0:x}")

    def _air_c(self) -> float:
        """Warmest at two in the afternoon."""
        hour = self._shared.true_s % DAY_S / 3600
        return (_SUMMER_C if self.is_summer else _MILD_C) + _SWING_C * math.cos((hour - 14) / 12 * math.pi)

    def _show(self, is_bright: bool) -> None:
        fresh = self._video.with_suffix(".new")
        shutil.copyfile(self._skies[is_bright], fresh)
        fresh.replace(self._video)

    def _make(self, folder: str, name_file: str, name: str, value_file: str) -> Path:
        path = self.sysfs / folder
        path.mkdir(parents=True)
        (path / name_file).write_text(f"{name}\n")
        (path / value_file).write_text("0\n")
        return path / value_file


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}")
    fresh.write_text(f"{text}\n")
    fresh.replace(path)
