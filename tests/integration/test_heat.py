"""The whole daemon on a board that warms up by what the daemon really does, in real time."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from statistics import fmean

from tests.fakes.broker import Broker
from tests.fakes.device import Device, write_video
from tests.fakes.tiny_models import make_model_folder

_STEP_S, _DIE_S = 0.1, 0.5
_TARGET_C, _HELD_S, _PATIENCE_S = 76.0, 5.0, 150.0


class WarmBoard(threading.Thread):
    """A die that follows the processor's work at once and a board that follows it in `board_s`, as a sysfs file.

    The work is that of the thread that infers, read from /proc: nothing is assumed of the daemon. A thread that waits
    for a processor counts as at work, as on a board of its own it would be. A real board takes minutes; this one takes
    seconds, and is warm already, so that a test can wait for it.
    """

    def __init__(
        self, sensor: Path, *, ambient_c: float, die_c: float, board_c: float, board_s: float, begins_c: float
    ) -> None:
        super().__init__(daemon=True)
        self._sensor, self._ending = sensor, threading.Event()
        self._ambient_c, self._die_c, self._board_c, self._board_s = ambient_c, die_c, board_c, board_s
        self._begins_c = begins_c
        self.vision_pid: int | None = None
        self.history: list[tuple[float, float]] = []  # monotonic s, °C
        self._write(begins_c)

    def run(self) -> None:
        board_c, duty, before = self._begins_c, 0.0, (time.monotonic(), self._worked_s())
        while not self._ending.wait(_STEP_S):
            now = (time.monotonic(), self._worked_s())
            passed_s = now[0] - before[0]
            worked = min(1.0, max(0.0, now[1] - before[1]) / passed_s)
            before = now
            duty += _STEP_S / _DIE_S * (worked - duty)
            board_c += passed_s / self._board_s * (self._ambient_c + self._board_c * duty - board_c)
            temp_c = board_c + self._die_c * duty
            self.history.append((now[0], temp_c))
            self._write(temp_c)

    def stop(self) -> None:
        self._ending.set()
        self.join()

    def is_held(self) -> bool:
        """Whether the mean temperature has been the target for a while, and for a while before that."""
        history = self.history.copy()
        until_s = history[-1][0] if history else 0.0
        for _ in range(2):
            lately = [temp_c for at_s, temp_c in history if until_s - _HELD_S < at_s <= until_s]
            until_s -= _HELD_S
            if not lately or until_s < history[0][0] or abs(fmean(lately) - _TARGET_C) > 2:
                return False
        return True

    def _worked_s(self) -> float:
        """How long the thread has run and waited to run: the first two numbers of its schedstat."""
        try:
            ran_ns, waited_ns = (
                Path(f"/proc/{self.vision_pid}/task/{self.vision_pid}/schedstat").read_text().split()[:2]
            )
        except OSError:
            return 0.0
        return (int(ran_ns) + int(waited_ns)) / 1e9

    def _write(self, temp_c: float) -> None:
        fresh = self._sensor.with_suffix(".new")
        fresh.write_text(f"{round(temp_c * 2) * 500}\n")  # steps of half a degree, as a Raspberry Pi's
        fresh.replace(self._sensor)


def test_a_board_too_hot_for_the_wanted_rate_settles_at_the_target(tmp_path: Path) -> None:
    """Flat out this board would reach 90 °C; held is 76 °C, at a rate above nothing and below the wanted one."""
    make_model_folder(tmp_path / "device" / "model", size_px=512)
    write_video(tmp_path / "device" / "video.avi", seconds=1.0, fps=200)
    board = WarmBoard(tmp_path / "temp", ambient_c=45.0, die_c=10.0, board_c=35.0, board_s=10.0, begins_c=60.0)
    thermal = {"sensor_path": str(tmp_path / "temp"), "bits": "off", "period_s": 1}
    with Broker(tmp_path / "broker") as broker:
        device = Device(
            tmp_path / "device",
            port=broker.port,
            thermal=thermal,
            # Without the delegate, so slow that it is never without work: what is not cut does reach 90 °C.
            inference={"max_fps": 150.0, "threads": 1, "delegate": "none"},
        )
        with device:
            status = device.wait_inferring()
            board.vision_pid = status.vision_pid
            board.start()
            cut = device.wait(lambda now: now.heat.limited_by == "heat", "the rate to be cut")
            assert cut.temp_c is not None
            until_s = time.monotonic() + _PATIENCE_S
            while not board.is_held():
                assert time.monotonic() < until_s, board.history[-100:]
                time.sleep(_STEP_S)
            settled = device.wait_inferring()
            board.stop()
    assert max(temp_c for _, temp_c in board.history) < 82
    assert 1 < settled.heat.rate_fps < 150
    assert "of 150 fps" in settled.heat.text
