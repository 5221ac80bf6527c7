"""The real daemon on a fast clock and a /sys of its own, as `interfaces.py` permits; crowds pass when they are to.

Crowds stand in for what vision says it saw, since no video on two cores has numbers of people so large that they could
be found again among all that is written. The true counts of all windows go to a file of the drill's, outside of the
device, so that the drill can look for them inside.

python -m tests.fakes.week.daemon run --config FILE
"""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

from edgeapp import cli, daemon
from edgeapp.telemetry.levels import ClosedWindow, LevelWindow
from edgeapp.thermal.sensors import BoardSensors
from edgeapp.types import ENTERED, Prediction
from edgeapp.vision import protocol
from edgeapp.vision.client import VisionClient
from tests.fakes.crowded_daemon import passing
from tests.fakes.week.clock import CLOCK_FILE, FastClock, SharedTime

SYSFS, TRUTH = "EDGEAPP_WEEK_SYSFS", "EDGEAPP_WEEK_TRUTH"


class _Crowds:
    """Stands between vision and the pipeline."""

    def __init__(self, shared: SharedTime) -> None:
        self._shared, self._seen = shared, shared.crowds
        self._receive = VisionClient.receive
        self._waiting: deque[Prediction] = deque()

    def receive(self, vision: VisionClient, timeout_s: float) -> protocol.Message | None:
        if self._waiting:
            return self._waiting.popleft()
        message = self._receive(vision, timeout_s)
        if isinstance(message, Prediction) and self._shared.crowds > self._seen:
            self._seen = self._shared.crowds
            # As fast as the model was just now, so that no trial holds another time against it.
            self._waiting.extend(replace(each, invoke_ms=message.invoke_ms) for each in passing(message))
        return message


def main() -> int:
    shared = SharedTime(Path(os.environ[CLOCK_FILE]))
    truth = Path(os.environ[TRUTH]).open("a", buffering=1)  # noqa: SIM115 - for as long as the daemon lives
    crowds, close = _Crowds(shared), LevelWindow._close

    def closing(window: LevelWindow, monotonic_ns: int) -> ClosedWindow | None:
        closed = close(window, monotonic_ns)
        if closed is not None:
            truth.write(f"{closed.level.name} {closed.index} {closed.counts.of(ENTERED, ('person',))}\n")
        return closed

    def receiving(vision: VisionClient, timeout_s: float) -> protocol.Message | None:
        return crowds.receive(vision, timeout_s)

    with (
        mock.patch.object(daemon, "SystemClock", partial(FastClock, shared)),
        mock.patch.object(daemon, "BoardSensors", partial(BoardSensors, sysfs=Path(os.environ[SYSFS]))),
        mock.patch.object(VisionClient, "receive", receiving),
        mock.patch.object(LevelWindow, "_close", closing),
    ):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
