"""The real daemon, before whose camera 14,738 people pass in one quarter of an hour, which lasts some seconds.

Replaced are the clock (as `interfaces.py` permits) and what vision says it saw in the pictures that it really
sees. No noise is 0, or the true count would be told by chance. With EDGEAPP_TEST_LEAK in the environment it has a bug:
it logs counts for debugging.

python -m tests.fakes.crowded_daemon run --config FILE
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from dataclasses import replace
from unittest import mock

from edgeapp import cli, daemon
from edgeapp.system.clock import SystemClock
from edgeapp.telemetry import noise
from edgeapp.telemetry.levels import ClosedWindow, LevelWindow
from edgeapp.types import ENTERED, Box, Detection, Prediction
from edgeapp.vision import protocol
from edgeapp.vision.client import VisionClient

CROWDS = [200] * 73 + [138]
SCORE = 0.81379
_SPEED = 120.0
_QUARTER_S = 900
_LEAD_S = 400.0  # a new ledger tells nothing of the first quarter, so that one is short
_FRAME_NS = 200_000_000


class _CrowdedClock(SystemClock):
    """Wall time alone is fast, known to be right, and begins shortly before a quarter of an hour.

    It stands while the crowds pass: they belong to one quarter, however long this machine takes for them.
    """

    began_ns: int | None = None
    stands_since_ns: int | None = None
    stood_ns = 0

    def __init__(self) -> None:
        _CrowdedClock.began_ns = time.monotonic_ns()
        self._began_s = (time.time() // _QUARTER_S + 1) * _QUARTER_S - _LEAD_S

    @classmethod
    def passed_s(cls) -> float:
        """How much time has passed on it."""
        now_ns = cls.stands_since_ns or time.monotonic_ns()
        return _SPEED * (now_ns - (cls.began_ns or now_ns) - cls.stood_ns) / 1e9

    @classmethod
    def stand(cls) -> None:
        cls.stands_since_ns = time.monotonic_ns()

    @classmethod
    def go_on(cls) -> None:
        if cls.stands_since_ns is not None:
            cls.stood_ns += time.monotonic_ns() - cls.stands_since_ns
            cls.stands_since_ns = None

    def wall_s(self) -> float:
        return self._began_s + self.passed_s()

    def is_synchronised(self) -> bool:
        return True


class _Crowds:
    """Stands between vision and the pipeline: once the second quarter has begun, crowds come and go, all at once."""

    def __init__(self) -> None:
        self._receive = VisionClient.receive
        self._waiting: deque[Prediction] = deque()
        self._have_come = False

    def receive(self, vision: VisionClient, timeout_s: float) -> protocol.Message | None:
        if self._waiting:
            return self._waiting.popleft()
        _CrowdedClock.go_on()
        message = self._receive(vision, timeout_s)
        if isinstance(message, Prediction) and not self._have_come and self._is_second_quarter():
            self._have_come = True
            _CrowdedClock.stand()
            self._waiting.extend(passing(message))
        return replace(message, detections=()) if isinstance(message, Prediction) else message

    def _is_second_quarter(self) -> bool:
        return _CrowdedClock.passed_s() > _LEAD_S + 60


def passing(before: Prediction) -> list[Prediction]:
    """The crowds of CROWDS after this prediction, one after the other; in sum 14,738 tracks."""
    at_ns = before.captured_ns
    predictions = []
    for people in CROWDS:
        for shown in (people, 0, 0, 0):  # a track is remembered for 2.5 frames
            at_ns += _FRAME_NS
            found = tuple(Detection(Box(i / 200, 0.4, (i + 1) / 200, 0.8), SCORE, 0) for i in range(shown))
            predictions.append(Prediction(before.frame_id, at_ns, at_ns, 5.0, found))
    return predictions


def main() -> int:
    crowds, draw = _Crowds(), noise.discrete_laplace
    close = LevelWindow._close

    def receiving(vision: VisionClient, timeout_s: float) -> protocol.Message | None:
        return crowds.receive(vision, timeout_s)

    def closing(window: LevelWindow, monotonic_ns: int) -> ClosedWindow | None:
        closed = close(window, monotonic_ns)
        if closed is not None and "EDGEAPP_TEST_LEAK" in os.environ:
            logging.getLogger("edgeapp").debug("closed with %d", closed.counts.of(ENTERED, ("person",)))
        return closed

    with (
        mock.patch.object(daemon, "SystemClock", _CrowdedClock),
        mock.patch.object(noise, "discrete_laplace", lambda scale: draw(scale) or 1),
        mock.patch.object(VisionClient, "receive", receiving),
        mock.patch.object(LevelWindow, "_close", closing),
    ):
        return cli.main()


if __name__ == "__main__":
    sys.exit(main())
