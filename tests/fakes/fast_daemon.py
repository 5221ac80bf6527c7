"""The real daemon on a clock that is replaced, as `interfaces.py` permits: a quarter of an hour passes in a second.

python -m tests.fakes.fast_daemon run --config FILE
"""

from __future__ import annotations

import sys
import time
from unittest import mock

from edgeapp import cli, daemon
from edgeapp.system.clock import SystemClock

_SPEED = 900.0


class _FastClock(SystemClock):
    """Wall time alone is fast, and known to be right."""

    def __init__(self) -> None:
        self._began_s, self._began_ns = time.time(), time.monotonic_ns()

    def wall_s(self) -> float:
        return self._began_s + _SPEED * (time.monotonic_ns() - self._began_ns) / 1e9

    def is_synchronised(self) -> bool:
        return True


if __name__ == "__main__":
    with mock.patch.object(daemon, "SystemClock", _FastClock):
        sys.exit(cli.main())
