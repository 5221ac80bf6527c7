"""The real daemon on a clock that a file tells, as `interfaces.py` permits: a board that starts in the past.

    python -m tests.fakes.field.clocked_daemon run --config FILE

The file holds the fields of ToldTime as JSON, and is read anew whenever somebody asks for the time.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from edgeapp import cli, daemon
from edgeapp.system.clock import SystemClock
from edgeapp.system.files import replace_quickly

CLOCK_FILE = Path("/srv/edgeapp-clock.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class ToldTime:
    """What the clock is to show. `set_ns` is CLOCK_MONOTONIC when it was told."""

    wall_s: float
    set_ns: int
    speed: float = 1.0
    is_synchronised: bool = False


def tell(path: Path, wall_s: float, *, speed: float, is_synchronised: bool) -> None:
    """Set the clock of a device whose clock file this is."""
    told = ToldTime(wall_s=wall_s, set_ns=time.monotonic_ns(), speed=speed, is_synchronised=is_synchronised)
    replace_quickly(path, json.dumps(asdict(told)).encode())


class _ToldClock(SystemClock):
    """Wall time alone is told; monotonic time is the kernel's."""

    def _told(self) -> ToldTime:
        return ToldTime(**json.loads(CLOCK_FILE.read_text()))

    def wall_s(self) -> float:
        told = self._told()
        return told.wall_s + told.speed * (time.monotonic_ns() - told.set_ns) / 1e9

    def is_synchronised(self) -> bool:
        return self._told().is_synchronised


if __name__ == "__main__":
    with mock.patch.object(daemon, "SystemClock", _ToldClock):
        sys.exit(cli.main())
