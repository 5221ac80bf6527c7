"""Kills a releasing device at random moments, and looks at all it published and left behind as an adversary would.

After each end the clock goes on or has gone back up to two days. Now and then, after an orderly stop that may have
released the open windows, the spool with its ledger is deleted or torn (and then the clock goes on, or no ledger could
help).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter as Multiset
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from edgeapp.telemetry.spool import SPOOL_NAME, Spool

_BEGIN_S = 1_699_963_200.0
_LONGEST_RUN_S = 0.4
_LOSS = 0.4
_GOES_BACK = 0.3
_DAYS_BACK = 2
Window = tuple[str, int]


@dataclass(slots=True)
class Seen:
    """Everything that left the device's memory."""

    contents: dict[Window, set[str]] = field(default_factory=dict)
    epsilons: dict[str, float] = field(default_factory=dict)
    epsilon_per_day: float = 0.0
    last_end_s: float = _BEGIN_S
    times: Multiset[bytes] = field(default_factory=Multiset)
    ends: Multiset[str] = field(default_factory=Multiset)

    def take(self, payload: bytes) -> None:
        report = json.loads(payload)
        window = report["level"], report["win"]["index"]
        self.contents.setdefault(window, set()).add(json.dumps(report["counts"]))
        self.epsilons[report["level"]] = report["dp"]["epsilon"]
        self.epsilon_per_day = report["dp"]["epsilon_per_day"]
        self.last_end_s = max(self.last_end_s, report["win"]["end"])
        self.times[payload] += 1

    @property
    def renoised(self) -> int:
        """Windows of which two different contents were seen."""
        return sum(len(contents) > 1 for contents in self.contents.values())

    @property
    def resent(self) -> int:
        """Reports that were seen again, byte for byte."""
        return sum(count > 1 for count in self.times.values())

    @property
    def worst_epsilon(self) -> float:
        """What a track costs that is in the most often told window of each level."""
        most: dict[str, int] = {}
        for (level, _), contents in self.contents.items():
            most[level] = max(most.get(level, 0), len(contents))
        return sum(self.epsilons[level] * count for level, count in most.items())


def drill(folder: Path, kills: int, seed: int) -> Seen:
    """Start the device again and again, until it was ended by SIGKILL `kills` times; one end of four is in order."""
    rng = random.Random(seed)
    seen = Seen()
    wall_s = _BEGIN_S
    while seen.ends["SIGKILL"] < kills:
        end = signal.SIGKILL if rng.random() < 0.75 else signal.SIGTERM
        _run(folder, wall_s, rng.uniform(0.0, _LONGEST_RUN_S), end, seen)
        seen.ends[end.name] += 1
        _read_card(folder, seen)
        wall_s = seen.last_end_s + rng.uniform(0, 1000)
        if end is signal.SIGTERM and rng.random() < _LOSS:
            _lose_spool(folder, rng)
            seen.ends["spool lost"] += 1
        elif rng.random() < _GOES_BACK:
            wall_s -= rng.uniform(0, _DAYS_BACK * 86_400)
            seen.ends["clock back"] += 1
    return seen


def _run(folder: Path, wall_s: float, seconds: float, end: signal.Signals, seen: Seen) -> None:
    """One life of the device, ended `seconds` after its first report."""
    command = [sys.executable, "-m", "tests.fakes.releasing_device", str(folder), str(wall_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        if wall_s < seen.last_end_s:
            seconds += _LONGEST_RUN_S  # it will be silent for a while
        else:
            seen.take(child.stdout.readline())
        time.sleep(seconds)
        child.send_signal(end)
        for line in child.stdout:
            if line.endswith(b"\n"):  # a line that was cut off stands whole in the spool
                seen.take(line)


def _read_card(folder: Path, seen: Seen) -> None:
    """What waits in the spool, for whoever takes the card."""
    with closing(Spool(folder / SPOOL_NAME, 100_000)) as spool:
        for _, kind, payload in spool.next_batch(100_000):
            if kind == "counts":
                seen.take(payload)


def _lose_spool(folder: Path, rng: random.Random) -> None:
    path = folder / SPOOL_NAME
    if rng.random() < 0.5:
        for entry in folder.iterdir():
            entry.unlink()
    else:
        path.write_bytes(os.urandom(path.stat().st_size))
