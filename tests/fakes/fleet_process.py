"""Devices of a fleet with the real update code, many to a process, and the releases that they install.

Real: the messages, signatures and TUF metadata, the gate, the listener, the installer in a thread of its own with
its store on disk, the files of a release and their hashes, the rules of the trial, the events. Played: vision (a model
runs as well as its version says, and time passes faster in its trials), the self-test, and the spool, here a queue.

python -m tests.fakes.fleet_process --port P --desk FOLDER --folder FOLDER --first N --count N

Says `ready`, then answers each line on its input with the account of its devices, a JSON object; ends with its input.
"""

from __future__ import annotations

import argparse
import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgeapp.system.clock import SystemClock
from edgeapp.system.heart import Heart
from edgeapp.system.processes import rss_mb
from edgeapp.types import Lineup, Situation
from edgeapp.updates.admission import Gate
from edgeapp.updates.command import place, read_message
from edgeapp.updates.inbox import Inbox
from edgeapp.updates.installer import Installer
from edgeapp.updates.listener import Listener
from edgeapp.updates.release import TensorFacts
from edgeapp.updates.reports import EVENT, Identity, Make, Reports
from edgeapp.updates.sources import FolderSource
from edgeapp.updates.store import Store
from edgeapp.updates.tools import SelfTested, Tools
from edgeapp.updates.trial import Conduct, Look
from tests.fakes.fleet import BAD, ROOT, SimulatedFleet, device_ids, facts
from tests.fakes.releases import Repository, manifest

_SPEED = 600.0  # of the time in a trial
_PROBATION_S = 600.0
_JITTER_S = 1.0
_TENSORS = {"image": TensorFacts(shape=(1, 320, 320, 3), dtype="int8", scale=0.0078, zero_point=-1)}
_FACTORY = Path("/factory")


class _Clock(SystemClock):
    def is_synchronised(self) -> bool:
        return True


class _PlayedVision:
    """The desk's other side: does what is wished for at once. The bad release is three times slower in use."""

    def __init__(self) -> None:
        self._wish = Lineup((str(_FACTORY),))
        self._since_s = time.monotonic()

    def line_up(self, wish: Lineup) -> None:
        if wish.order[0] != self._wish.order[0]:
            self._since_s = time.monotonic()
        self._wish = wish

    def look(self) -> Look:
        running, beside = self._wish.order[0], self._wish.beside
        p95_ms = 90.0 if Path(running).name.startswith(f"{BAD}-") else 30.0
        return Look(
            situation=Situation(running, beside),
            measured=running,
            lately=_conduct(_PROBATION_S, p95_ms),
            since_begin=_conduct((time.monotonic() - self._since_s) * _SPEED, p95_ms),
        )


def _conduct(seconds: float, p95_ms: float) -> Conduct:
    frames = int(10 * seconds)
    return Conduct(seconds=seconds, inferred=frames, failures=0, p95_ms=p95_ms, throttled_s=0.0, rss_mb=100.0)


class UpdatingMind:
    """One device."""

    def __init__(self, device: str, folder: Path, repository: Path) -> None:
        self.contents: dict[int, set[bytes]] = defaultdict(set)
        self._reports: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        self._seq, self._inbox, clock = 0, Inbox(), _Clock()
        reports = Reports(
            Identity(device, sha256(device.encode()).hexdigest()[:16], "0.1.0"), clock, self._keep, _nothing
        )
        (folder / "tuf").mkdir(parents=True)
        gate = Gate(folder / "tuf", (repository / "metadata" / "1.root.json").read_bytes(), facts(device))
        self._store = Store(folder / "updates", _FACTORY)
        self._installer = Installer(
            store=self._store,
            clock=clock,
            inbox=self._inbox,
            listener=Listener(gate, self._inbox, clock, reports, lambda: None),
            reports=reports,
            desk=_PlayedVision(),
            tools=Tools(
                sources=lambda _: [FolderSource(repository / "targets")],
                self_test=lambda *_: SelfTested("", "", _TENSORS),
                budget=lambda _: None,
                wait_s=lambda command: _JITTER_S * place(command, device),
            ),
        )
        self._stop = threading.Event()
        arguments = (self._stop, Heart("installer", 60.0))
        self._thread = threading.Thread(target=self._installer.run, args=arguments, name=device, daemon=True)
        self._thread.start()

    def take(self, content: bytes) -> None:
        self.contents[read_message(content)[0].command.seq].add(content)
        self._inbox.put(content)

    def reports(self) -> Iterator[tuple[int, bytes]]:
        while not self._reports.empty():
            yield self._reports.get()

    def end(self) -> None:
        self._stop.set()
        self._inbox.wake()
        self._thread.join()

    def account(self) -> dict[str, Any]:
        """`orders_altered` counts the numbers that came with more than one content."""
        state = self._store.state
        return {
            "active": state.active.version if state.active else 0,
            "is_touched": bool(state.history) or state.command is not None,
            "blocked": len(state.blocked),
            "orders_altered": sum(len(each) > 1 for each in self.contents.values()),
        }

    def _keep(self, make: Make, kind: str = EVENT) -> int:
        self._seq += 1
        self._reports.put((self._seq, make(self._seq, 0)))
        return self._seq


def _nothing() -> None:
    pass


def make_repository(repository: Repository, folder: Path, *versions: int) -> None:
    """Add releases with files of their own, which land in `folder`, where `Repository.write` leaves the rest."""
    blobs = folder / "targets" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    for version in versions:
        content = manifest(version, probation={"duration_s": _PROBATION_S})
        files = {"model": b"model %d" % version * 4096, "golden": b"golden %d" % version * 64}
        for key, blob in files.items():
            name = content["model"][key]["file"] if key == "model" else content["model"][key]["cases"]["file"]
            spec = {"file": name, "sha256": sha256(blob).hexdigest(), "size_bytes": len(blob)}
            content["model"][key] = spec if key == "model" else {"cases": spec}
            (blobs / spec["sha256"]).write_bytes(blob)
        repository.add_release(content)


class DeviceProcesses:
    """The whole fleet in some processes. Use as a context: the devices are online inside of it."""

    def __init__(self, port: int, desk: Path, folder: Path, *, count: int, processes: int) -> None:
        base, places = [sys.executable, "-m", "tests.fakes.fleet_process"], range(0, count, -(-count // processes))
        where = ["--port", str(port), "--desk", str(desk), "--folder", str(folder)]
        self._commands = [
            [*base, *where, "--first", str(first), "--count", str(min(places.step, count - first))] for first in places
        ]
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> DeviceProcesses:
        pipe = subprocess.PIPE
        for command in self._commands:
            self._processes.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n", "the devices do not come online"
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(60)

    def account(self) -> dict[str, dict[str, Any]]:
        """Of each device what `UpdatingMind.account` says, and `told`, the numbers of its reports."""
        found: dict[str, dict[str, Any]] = {}
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            print(file=process.stdin, flush=True)
            found |= json.loads(process.stdout.readline())
        return found

    def rss_mb(self) -> float:
        """The memory of all of them, MiB."""
        return sum(rss_mb(process.pid) or 0.0 for process in self._processes)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("port", "first", "count"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("desk", "folder"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    threading.stack_size(512 * 1024)
    repository = chosen.desk / "repository"
    ids = device_ids(range(chosen.first, chosen.first + chosen.count))
    minds = {device: UpdatingMind(device, chosen.folder / device, repository) for device in ids}
    with SimulatedFleet(chosen.port, dict(minds)) as fleet:
        print("ready", flush=True)
        for _ in sys.stdin:
            told = {name: sorted(device.told.copy()) for name, device in fleet.devices.items()}
            account = {name: {**mind.account(), "told": told[name]} for name, mind in minds.items()}
            print(json.dumps(account), flush=True)
    for mind in minds.values():
        mind.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
