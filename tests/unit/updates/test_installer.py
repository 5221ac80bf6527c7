"""Each phase of an update can be cancelled, superseded and killed; vision, the self-test and the files are played."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from edgeapp.types import Lineup, Situation
from edgeapp.updates.admission import Gate
from edgeapp.updates.download import Blob, Source
from edgeapp.updates.inbox import Inbox
from edgeapp.updates.installer import Installer
from edgeapp.updates.listener import Listener
from edgeapp.updates.messages import read_event
from edgeapp.updates.phases import Phase
from edgeapp.updates.release import Budget, TensorFacts
from edgeapp.updates.reports import Identity, Reports
from edgeapp.updates.store import Store
from edgeapp.updates.tools import SelfTested, Tools
from edgeapp.updates.trial import Conduct, Look
from tests.fakes.attacks import FACTS
from tests.fakes.clock import FakeClock
from tests.fakes.releases import NOW_S, Repository, manifest

_FACTORY = Path("/factory")
_PROBATION_S = 60.0
_FILES = {"model.tflite": b"model" * 9, "golden.npz": b"golden"}
_TENSORS = {"image": TensorFacts(shape=(1, 320, 320, 3), dtype="int8", scale=0.0078, zero_point=-1)}
_GOOD = Conduct(seconds=100.0, inferred=1000, failures=0, p95_ms=10.0, throttled_s=0.0, rss_mb=50.0)


class PlayedVision:
    """The desk's other side: does at once what is wished for, unless it is told not to load."""

    def __init__(self) -> None:
        self.wish = Lineup(())
        self.loads = True
        self.conduct = _GOOD

    def line_up(self, wish: Lineup) -> None:
        self.wish = wish

    def look(self) -> Look:
        running = self.wish.order[0]
        beside = self.wish.beside if self.loads else None
        return Look(situation=Situation(running, beside), measured=running, lately=_GOOD, since_begin=self.conduct)


class Served:
    """Has every file of the release."""

    name = "played"

    def chunks(self, blob: Blob, start: int) -> Iterator[tuple[int, bytes]]:
        content = next(one for one in _FILES.values() if sha256(one).hexdigest() == blob.sha256)
        yield start, content[start:]


class Bench:
    """A device whose world is played. `restart` is a kill and a new start."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.repository, self.clock = folder, Repository(), FakeClock(NOW_S)
        for version in (7, 8):
            self.repository.add_release(_manifest(version))
        self.vision, self.events = PlayedVision(), list[tuple[str, str, str]]()
        self.wait_s, self.test_lasts = 0.0, False
        self.seq = 0
        self.restart()

    def restart(self) -> None:
        self.inbox = Inbox()
        reports = Reports(Identity("yard-1", "0" * 16, "0.1.0"), self.clock, self._keep, lambda: None)
        gate = Gate(self.folder / "tuf", self.repository.first_root, FACTS)
        self.installer = Installer(
            store=Store(self.folder / "updates", _FACTORY),
            clock=self.clock,
            inbox=self.inbox,
            listener=Listener(gate, self.inbox, self.clock, reports, lambda: None),
            reports=reports,
            desk=self.vision,
            tools=Tools(
                sources=self._sources, self_test=self._self_test, budget=lambda _: None, wait_s=lambda _: self.wait_s
            ),
        )
        self.installer._start()

    @property
    def phase(self) -> Phase:
        return self.installer._store.state.phase

    def send(self, op: str, version: int | None = None, **changes: Any) -> str:
        self.seq += 1
        path = f"releases/person/{version}.json"
        release = {"path": path, "sha256": sha256(self.repository.contents[path]).hexdigest()} if version else None
        fields = {"op": op, "id": f"{op}-{self.seq}", "seq": self.seq, "release": release, **changes}
        self.inbox.put(self.repository.message(**fields))
        return f"{op}-{self.seq}"

    def turn_until(self, *phases: Phase) -> None:
        """Carry on until the device is in one of these phases, or nothing more is to be done in a second."""
        deadline_s = time.monotonic() + 60
        while self.phase not in phases:
            assert time.monotonic() < deadline_s, (self.phase, self.events)
            self.installer._turn()
            self.inbox.wait(0.01)

    def turn_until_told(self, *event: str) -> None:
        deadline_s = time.monotonic() + 60
        while event not in self.events:
            assert time.monotonic() < deadline_s, (self.phase, self.events)
            self.installer._turn()
            self.inbox.wait(0.01)

    def _keep(self, make: Any, kind: str = "") -> int:
        if kind == "event":
            event = read_event(make(1, 0))
            self.events.append((event.command.id if event.command else "", event.phase, event.code))
        return 1

    def _sources(self, _: Sequence[str]) -> Sequence[Source]:
        return [Served()]

    def _self_test(self, _folder: Path, _budget: Budget | None, stop: threading.Event) -> SelfTested:
        while self.test_lasts and not stop.is_set():
            stop.wait(0.01)
        return SelfTested("", "", _TENSORS)


def _manifest(version: int) -> dict[str, Any]:
    content = manifest(version, probation={"duration_s": _PROBATION_S})
    for key, name in (("model", "model.tflite"), ("golden", "golden.npz")):
        spec = {"file": name, "sha256": sha256(_FILES[name]).hexdigest(), "size_bytes": len(_FILES[name])}
        content["model"][key] = spec if key == "model" else {"cases": spec}
    return content


def _halt_in(bench: Bench, phase: Phase) -> dict[str, Any]:
    """Make the world such that the update does not go beyond a phase; the command's own part of it."""
    bench.test_lasts = phase is Phase.SELFTEST
    bench.vision.loads = phase is not Phase.STANDBY
    bench.vision.conduct = dataclasses.replace(_GOOD, seconds=1.0) if phase is Phase.TRIAL else _GOOD
    bench.wait_s = 1e9 if phase is Phase.DOWNLOADING else 0.0
    bench.restart()
    return {"window": {"start": "23:00", "end": "23:30"}} if phase is Phase.WAIT_WINDOW else {}


HALTS = [Phase.WAIT_WINDOW, Phase.DOWNLOADING, Phase.SELFTEST, Phase.STANDBY, Phase.TRIAL]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "tuf").mkdir()
    return Bench(tmp_path)


@pytest.mark.parametrize("phase", HALTS)
def test_cancel_ends_the_work_in_every_phase_and_leaves_the_old_model(bench: Bench, phase: Phase) -> None:
    install = bench.send("install", 7, **_halt_in(bench, phase))
    bench.turn_until(phase)
    cancel = bench.send("cancel")
    bench.turn_until_told(cancel, "cancelled", "")
    assert (install, "cancelled", "") in bench.events
    assert bench.phase is Phase.IDLE
    assert bench.vision.wish == Lineup((str(_FACTORY),))
    assert bench.installer._store.state.blocked == ()


@pytest.mark.parametrize("phase", HALTS)
def test_a_newer_command_supersedes_the_work_in_every_phase(bench: Bench, phase: Phase) -> None:
    first = bench.send("install", 7, **_halt_in(bench, phase))
    bench.turn_until(phase)
    bench.wait_s = 0.0
    second = bench.send("install", 8)
    bench.turn_until_told(first, "superseded", "")
    bench.test_lasts, bench.vision.loads, bench.vision.conduct = False, True, _GOOD
    bench.turn_until_told(second, "committed", "")
    state = bench.installer._store.state
    assert state.active is not None
    assert (state.active.version, state.last_good, state.version_floor) == (8, None, 8)


@pytest.mark.parametrize("phase", HALTS)
def test_a_device_killed_in_any_phase_goes_on_and_commits(bench: Bench, phase: Phase) -> None:
    install = bench.send("install", 7, **_halt_in(bench, phase))
    bench.turn_until(phase)
    bench.test_lasts, bench.vision.loads, bench.vision.conduct, bench.wait_s = False, True, _GOOD, 0.0
    if phase is Phase.WAIT_WINDOW:
        bench.clock.advance(3600 * 11.25)  # to within the window
    bench.restart()
    if phase is Phase.WAIT_WINDOW:  # the command's own hour is over by then
        bench.turn_until_told(install, "refused", "E_EXPIRED")
        return
    bench.turn_until_told(install, "committed", "")


def test_after_a_restart_in_a_trial_the_model_of_before_is_loaded_again_to_compare_with(bench: Bench) -> None:
    _halt_in(bench, Phase.TRIAL)
    bench.send("install", 7)
    bench.turn_until(Phase.TRIAL)
    before = bench.vision.wish
    assert before.beside == str(_FACTORY)
    bench.restart()
    assert bench.vision.wish == before


def test_three_kills_in_a_trial_roll_back_and_block(bench: Bench) -> None:
    _halt_in(bench, Phase.TRIAL)
    install = bench.send("install", 7)
    bench.turn_until(Phase.TRIAL)
    assert bench.vision.wish.order[0] != str(_FACTORY)
    for _ in range(3):
        bench.restart()
    bench.turn_until_told(install, "rolled_back", "E_TRIAL_CRASH")
    assert bench.vision.wish == Lineup((str(_FACTORY),))
    bench.send("install", 7)
    bench.turn_until_told(f"install-{bench.seq}", "refused", "E_BLOCKED")


def test_a_trial_that_goes_badly_ends_by_itself_within_two_seconds_of_its_probation(bench: Bench) -> None:
    bench.vision.conduct = bad = dataclasses.replace(_GOOD, seconds=0.0, failures=20)
    install = bench.send("install", 7)
    bench.turn_until(Phase.TRIAL)
    elapsed_s = 0.0
    while bench.phase is Phase.TRIAL and elapsed_s < 100.0:
        bench.clock.advance(0.25)  # as often as the installer looks
        elapsed_s += 0.25
        bench.vision.conduct = dataclasses.replace(bad, seconds=elapsed_s // 0.5 * 0.5)  # as often as it is measured
        bench.installer._turn()
    assert _PROBATION_S <= elapsed_s <= _PROBATION_S + 2.0
    bench.turn_until_told(install, "rolled_back", "E_TRIAL_FAILRATE")
    assert bench.vision.wish == Lineup((str(_FACTORY),))


def test_a_crash_of_vision_while_it_loads_the_candidate_blocks_it(bench: Bench) -> None:
    _halt_in(bench, Phase.STANDBY)
    install = bench.send("install", 7)
    bench.turn_until(Phase.STANDBY)
    bench.installer._crashes = -1  # as if one had come since
    bench.turn_until_told(install, "failed", "E_LOAD_CRASH")
    assert len(bench.installer._store.state.blocked) == 1


def test_a_rollback_needs_allow_downgrade_and_heeds_the_security_floor(bench: Bench) -> None:
    bench.send("install", 7)
    bench.turn_until_told("install-1", "committed", "")
    bench.send("rollback")
    bench.turn_until_told("rollback-2", "refused", "E_DOWNGRADE")
    bench.repository.add_release(_manifest(9), security_floor=3)
    bench.send("rollback", allow_downgrade=True)
    bench.turn_until_told("rollback-3", "refused", "E_FLOOR")
    bench.send("install", 8)
    bench.turn_until_told("install-4", "committed", "")
    bench.send("rollback", allow_downgrade=True)
    bench.turn_until_told("rollback-5", "rolled_back", "")
    state = bench.installer._store.state
    assert state.active is not None
    assert (state.active.version, state.version_floor) == (7, 8)


def test_a_command_that_comes_again_is_no_news_and_one_too_early_is_followed_in_time(bench: Bench) -> None:
    bench.send("pin", not_before=int(NOW_S) + 100)
    bench.turn_until_told("pin-1", "refused", "E_NOT_YET")
    for _ in range(5):
        bench.installer._turn()
    bench.clock.advance(101)
    bench.turn_until_told("pin-1", "committed", "")
    count = len(bench.events)
    bench.seq = 0
    bench.send("pin", not_before=int(NOW_S) + 100)
    for _ in range(5):
        bench.installer._turn()
    assert len(bench.events) == count
