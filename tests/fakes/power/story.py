"""Installs, rollbacks and collections of garbage on a real store, and what must hold wherever they are interrupted."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgeapp.manifest import FileSpec
from edgeapp.updates import changes
from edgeapp.updates.phases import BUSY, ENDS, Event, Phase
from edgeapp.updates.recovery import SLOTS, Level
from edgeapp.updates.state import FRESH, KeptCommand, Release, State, parse
from edgeapp.updates.store import Store

NOW_S = 1_800_000_000
_MODEL_BYTES = 40_000
_CHUNK_BYTES = 16_384
FACTORY = Path("/factory")  # no test opens it
_INSTALLS, _VERSIONS = 5, 4
_STARTS = 0.3  # so many installs are interrupted by a start
_STOPS = (Event.FAILED, Event.CANCELLED, Event.SUPERSEDED)
_WAYS = [(Phase.TRIAL, Event.HEALTHY)] * 8 + [(phase, stop) for phase in sorted(BUSY) for stop in _STOPS]


@dataclass(frozen=True, slots=True)
class Goods:
    """A release and what its blobs hold."""

    release: Release
    content: dict[str, bytes]


def goods(version: int) -> Goods:
    """Release `version`: a model of its own, and labels that all releases share."""
    parts = {
        "model.json": b'{"version": %d}' % version,
        "model.tflite": hashlib.shake_128(b"model %d" % version).digest(_MODEL_BYTES),
        "labels.txt": b"person\n",
    }
    manifest = b"release manifest of %d" % version
    content = {hashlib.sha256(each).hexdigest(): each for each in (*parts.values(), manifest)}
    files = tuple(
        FileSpec(file=name, sha256=hashlib.sha256(each).hexdigest(), size_bytes=len(each))
        for name, each in parts.items()
    )
    sha256 = hashlib.sha256(manifest).hexdigest()
    return Goods(Release(name="person", version=version, sha256=sha256, files=files), content)


class ToldStore(Store):
    """A store of which every write of the state is told, before and after it."""

    def __init__(
        self, root: Path, begun: Callable[[State], object] = id, acked: Callable[[State], object] = id
    ) -> None:
        super().__init__(root, FACTORY)
        self._begun, self._acked = begun, acked

    def _write(self, state: State) -> None:
        self._begun(replace(state, generation=self.state.generation + 1))
        super()._write(state)
        self._acked(self.state)


class Teller:
    """Works on a store as an installer does."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def tell(self) -> None:
        """One life: installs, a trial that fails, a command that is cancelled, the way back to the last good one."""
        self.start()
        self.install(1)
        self.install(2)
        self.install(3, verdict=Event.FAILED)
        self.install(4, until=Phase.DOWNLOADING, verdict=Event.CANCELLED)
        self.install(1)
        self.stop()

    def live(self, chance: random.Random) -> None:
        """A life that chance makes up: releases in any order, each with an end in any phase, and starts between."""
        self.start()
        for _ in range(_INSTALLS):
            version, (until, verdict) = chance.randint(1, _VERSIONS), chance.choice(_WAYS)
            if chance.random() < _STARTS:
                self.go(version, until)
                self.start()
            else:
                self.install(version, until=until, verdict=verdict)
        self.stop()

    def tell_for_ever(self) -> None:
        """One release after the other, each third one failing, with the way back now and then."""
        self.start()
        for version in range(self.store.state.version_floor + 1, 1 << 30):
            self.install(version, verdict=Event.FAILED if version % 3 == 0 else Event.HEALTHY)
            if version % 5 == 0 and self.store.state.last_good:
                self.install(self.store.state.last_good.version)

    def start(self) -> None:
        """As the daemon does; what was in work when the last one ended is cancelled."""
        self.store.start(NOW_S)
        if self.store.state.phase in BUSY:
            self.store.commit(changes.end(self.store.state, Event.CANCELLED, code="", now_s=NOW_S))
        if self.store.state.phase in ENDS:
            self.store.commit(changes.report(self.store.state))

    def stop(self) -> None:
        """As asked."""
        self.store.commit(changes.stop_cleanly(self.store.state))

    def install(self, version: int, *, until: Phase = Phase.TRIAL, verdict: Event = Event.HEALTHY) -> None:
        """One command, step by step as far as `until`, where the `verdict` falls."""
        self.go(version, until)
        code = "" if verdict is Event.HEALTHY else "E_TRIAL_LATENCY"
        self.store.commit(changes.end(self.store.state, verdict, code=code, now_s=NOW_S))
        self.store.commit(changes.report(self.store.state))
        self.store.collect_garbage()

    def go(self, version: int, until: Phase) -> None:
        """The way of a release as far as `until`."""
        for _ in self.steps(version):
            if self.store.state.phase is until:
                break

    def steps(self, version: int) -> Iterator[None]:
        """The way of a release into its trial; each phase is persisted when it is yielded."""
        store, wanted = self.store, goods(version)
        seq = store.state.seq_seen + 1
        envelope = store.keep(b"envelope of %d" % seq)
        self.store.commit(changes.receive(store.state, KeptCommand(id=f"command-{seq}", seq=seq, sha256=envelope)))
        yield
        store.keep(wanted.content[wanted.release.sha256])
        self.store.commit(changes.accept(store.state, wanted.release))
        yield
        for event in (Event.WINDOW_SHUT, Event.WINDOW_OPEN):
            self.store.commit(changes.advance(store.state, event))
            yield
        for file in wanted.release.files:
            if not store.has(file.sha256):
                fetch(store, file, wanted.content[file.sha256])
                store.adopt(file)
        for event in (Event.FETCHED, Event.TEST_BEGUN, Event.TEST_PASSED, Event.SWITCHED):
            self.store.commit(changes.advance(store.state, event))
            yield


def fetch(store: Store, file: FileSpec, content: bytes) -> None:
    """Write the part of a file, as a downloader does: without waiting for a disk."""
    descriptor = os.open(store.part(file.sha256), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for start in range(0, len(content), _CHUNK_BYTES):
            os.write(descriptor, content[start : start + _CHUNK_BYTES])
    finally:
        os.close(descriptor)


def judge(root: Path, acked: State, begun: State) -> str:
    """What is wrong with an interrupted store, and empty where nothing is. It is started twice.

    `acked` is the last state whose commit has returned, `begun` the last one whose commit was begun.
    """
    found = newest(root)
    if found not in (acked, begun):
        return f"lost: found {_brief(found)}, expected {_brief(acked)} or {_brief(begun)}"
    for _ in range(2):
        store = Store(root, FACTORY)
        start = store.start(NOW_S)
        if start.findings:
            return f"bad: {start.findings[0]}"
        model = start.models[0]
        expected = found.candidate if store.state.phase is Phase.TRIAL else store.state.active
        if model.release != expected or (expected is None and model.level is not Level.FACTORY):
            return f"bad: runs {model.release}, expected {expected}"
        if model.release and (wrong := _wrong_files(model.folder, model.release)):
            return f"bad: {model.folder.name}/{wrong} is not the file that was verified"
    return ""


def newest(root: Path) -> State:
    """The state that counts, read without the store's help."""
    states = [FRESH]
    for name in SLOTS:
        if (root / name).exists():
            try:
                states.append(parse((root / name).read_bytes(), name))
            except Exception:
                continue
    return max(states, key=lambda state: state.generation)


def _wrong_files(folder: Path, release: Release) -> str:
    for file in release.files:
        path = folder / file.file
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
            return file.file
    return ""


def _brief(state: State) -> str:
    return f"generation {state.generation} ({state.phase})"
