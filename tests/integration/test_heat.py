"""The whole daemon on a board that warms up by what the daemon really does, in real time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.fakes.broker import Broker
from tests.fakes.device import Device, write_video
from tests.fakes.tiny_models import make_model_folder

_STEP_S = 0.1
_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")


class WarmBoard(threading.Thread):
    """A die that follows the processor's work at once and a board that follows it in `board_s`, as a sysfs file.

    The work is that of the vision process, read from /proc: nothing is assumed of the daemon. A real board takes
    minutes; this one takes half of one, so that a test can wait for it.
    """

    def __init__(self, sensor: Path, *, ambient_c: float, die_c: float, board_c: float, board_s: float) -> None:
        super().__init__(daemon=True)
        self._sensor, self._ending = sensor, threading.Event()
        self._ambient_c, self._die_c, self._board_c, self._board_s = ambient_c, die_c, board_c, board_s
        self.vision_pid: int | None = None
        self.history: list[tuple[float, float]] = []  # monotonic s, °C
        self._write(ambient_c)

    def run(self) -> None:
        board_c, duty, before = self._ambient_c, 0.0, (time.monotonic(), 0.0)
        while not self._ending.wait(_STEP_S):
            now = (time.monotonic(), self._cpu_s())
            passed_s = now[0] - before[0]
            worked = min(1.0, max(0.0, now[1] - before[1]) / passed_s)
            before = now
            duty += 0.3 * (worked - duty)  # the die's own second, and the coarse ticks of /proc
            board_c += passed_s / self._board_s * (self._ambient_c + self._board_c * duty - board_c)
            temp_c = board_c + self._die_c * duty
            self.history.append((now[0], temp_c))
            self._write(temp_c)

    def stop(self) -> None:
        self._ending.set()
        self.join()

    def _cpu_s(self) -> float:
        try:
            fields = Path(f"/proc/{self.vision_pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) * _TICKS_S

    def _write(self, temp_c: float) -> None:
        fresh = self._sensor.with_suffix(".new")
        fresh.write_text(f"{round(temp_c * 2) * 500}\n")  # steps of half a degree, as a Raspberry Pi's
        fresh.replace(self._sensor)


def test_a_board_too_hot_for_the_wanted_rate_settles_at_the_target(tmp_path: Path) -> None:
    """Flat out this board would reach 90 °C; held is 76 °C, at a rate above nothing and below the wanted one."""
    make_model_folder(tmp_path / "device" / "model", size_px=512)
    write_video(tmp_path / "device" / "video.avi", seconds=1.0, fps=200)
    board = WarmBoard(tmp_path / "temp", ambient_c=45.0, die_c=10.0, board_c=35.0, board_s=30.0)
    thermal = {"sensor_path": str(tmp_path / "temp"), "bits": "off", "period_s": 1}
    with Broker(tmp_path / "broker") as broker:
        device = Device(tmp_path / "device", port=broker.port, thermal=thermal, inference={"max_fps": 150.0})
        with device:
            status = device.wait_inferring()
            board.vision_pid = status.vision_pid
            board.start()
            cut = device.wait(lambda now: now.heat.limited_by == "heat", "the rate to be cut", 90)
            assert cut.temp_c is not None
            time.sleep(25)
            settled = device.wait_inferring()
            board.stop()
    last = [temp_c for at_s, temp_c in board.history if at_s > board.history[-1][0] - 10]
    assert sum(last) / len(last) == pytest.approx(76, abs=3)
    assert max(temp_c for _, temp_c in board.history) < 82
    assert 1 < settled.heat.rate_fps < 150
    assert "of 150 fps" in settled.heat.text
