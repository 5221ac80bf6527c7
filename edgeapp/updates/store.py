"""The folder that holds the models and the state of updates; the only code that touches it.

    state.a, state.b   the state, written alternately: the one commit point
    blobs/<sha256>     whole files, verified when they were adopted, never changed
    stage/<sha256>.*   what is being fetched
    releases/<version>-<sha256>/   a release as a model folder: hard links to its blobs

Owns how things are made durable and in which order: blobs, then the release's folder, then the state. What is to be
remembered or done is decided by `changes.py` and `recovery.py`. Guarantees: a `commit` that returned survives a power
cut, one that raised leaves the old state or the new one; no state ever refers to a candidate at risk whose files are
not whole. One thread owns a store.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgeapp.manifest import FileSpec
from edgeapp.system import files
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.phases import AT_RISK
from edgeapp.updates.recovery import BLOBS, RELEASES, SLOTS, STAGE, Found, Level, garbage, recover
from edgeapp.updates.state import FRESH, Release, State, parse, serialise

_FOLDERS = (BLOBS, STAGE, RELEASES)
_MAX_STATE_BYTES = 128 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model that can be run. `release` is None for the factory model."""

    level: Level
    release: Release | None
    folder: Path


@dataclass(frozen=True, slots=True)
class Start:
    """What a start found: the models in the order to try them (none: safe mode), and what to report."""

    models: tuple[StoredModel, ...]
    findings: tuple[UpdateError, ...]


class Store:
    """One device's models and state. Call `start` first, once."""

    def __init__(self, root: Path, factory: Path) -> None:
        """`root` is made if need be; `factory` is the model folder that came with the device."""
        self._root, self._factory = root, factory
        self._state = FRESH
        self._next_slot = SLOTS[0]

    @property
    def state(self) -> State:
        """As it was last committed."""
        return self._state

    def start(self, now_s: int) -> Start:
        """Recover from whatever lies there, and count this start. Never raises: there is always something to run.

        Where the count cannot be written, no candidate runs: a trial that cannot be counted could go on for ever.
        """
        findings: list[UpdateError] = []
        with _told(self._root, findings):
            self._make_folders()
        found = self._look(is_verified=True)
        plan = recover(found, now_s)
        findings += plan.findings
        self._remove(plan.remove, findings)
        self._next_slot = SLOTS[1] if found.newest and found.slots[SLOTS[0]] is found.newest else SLOTS[0]
        self._state, is_counted = plan.state, False
        with _told(self._root, findings):
            self._write(plan.state)
            is_counted = True
        models = []
        for level, release in plan.models:
            if is_counted or level is not Level.CANDIDATE:
                with _told(self._root, findings):
                    models.append(StoredModel(level, release, self.folder(release)))
        return Start(tuple(models), tuple(findings))

    def commit(self, state: State) -> None:
        """Remember a state. When this returns, a power cut cannot undo it.

        Raises:
            UpdateError: E_SPACE, E_IO, or E_HASH: a blob of a candidate at risk is not there. `state` is as before.
        """
        if state == self._state:
            return
        if state.phase in AT_RISK:
            self.folder(state.candidate)
        self._write(state)

    def part(self, sha256: str, suffix: str = ".part") -> Path:
        """Where the file of this sha256 is fetched to; with another suffix, what the fetching notes about it."""
        return self._root / STAGE / f"{sha256}{suffix}"

    def has(self, sha256: str) -> bool:
        """Whether the file of this sha256 is there and was verified, at the start or since."""
        return self._blob(sha256).is_file()

    def adopt(self, file: FileSpec) -> None:
        """Verify a fetched part and make it a blob. What is not what it should be is removed.

        Raises:
            UpdateError: E_LENGTH, E_HASH, E_SPACE, E_IO.
        """
        part = self.part(file.sha256)
        with _named(part):
            size_bytes = part.lstat().st_size
            if size_bytes != file.size_bytes:
                part.unlink()
                raise UpdateError(Code.E_LENGTH, f"{file.file}: expected {file.size_bytes} bytes, found {size_bytes}")
            if (sha256 := files.sha256_of(part)) != file.sha256:
                part.unlink()
                raise UpdateError(Code.E_HASH, f"{file.file}: expected sha256 {file.sha256}, found {sha256}")
            files.move_durably(part, self._blob(file.sha256))
            for note in (self._root / STAGE).glob(f"{file.sha256}.*"):
                note.unlink()

    def keep(self, content: bytes) -> str:
        """Make a small document a blob, and return its sha256. It lasts as long as a state refers to it.

        Raises:
            UpdateError: E_SPACE, E_IO.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self._blob(sha256)
        with _named(path):
            self._make_folders()
            files.write_durably(path, content)
        return sha256

    def read(self, sha256: str) -> bytes:
        """The content of a small blob, verified.

        Raises:
            UpdateError: E_HASH: it is damaged or not there. E_IO.
        """
        path = self._blob(sha256)
        with _named(path):
            content = path.read_bytes() if self.has(sha256) else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UpdateError(Code.E_HASH, f"{path}: expected the content that its name says, found another or none")
        return content

    def folder(self, release: Release | None) -> Path:
        """The model folder of a release whose blobs are all there, made if need be; the factory's for None.

        Raises:
            UpdateError: E_HASH: a blob is not there. E_SPACE, E_IO.
        """
        if release is None:
            return self._factory
        folder = self._root / RELEASES / release.folder_name
        links = {file.file: self._blob(file.sha256) for file in release.files}
        missing = [sha256 for sha256 in sorted(release.blobs) if not self.has(sha256)]
        if missing:
            raise UpdateError(Code.E_HASH, f"{folder}: expected all blobs of the release, found none of {missing[0]}")
        with _named(folder):
            if not _is_linked(folder, links):
                files.link_durably(folder, links)
        return folder

    def collect_garbage(self) -> tuple[UpdateError, ...]:
        """Remove what no state refers to. Returns what could not be removed."""
        findings: list[UpdateError] = []
        self._remove(garbage(self._look(is_verified=False), self._state), findings)
        return tuple(findings)

    def _make_folders(self) -> None:
        for folder in (self._root, *(self._root / name for name in _FOLDERS)):
            if not folder.is_dir():
                folder.mkdir(parents=True)
                files.sync_folder(folder.parent)

    def _write(self, state: State) -> None:
        state = replace(state, generation=self._state.generation + 1)
        path = self._root / self._next_slot
        with _named(path):
            files.write_durably(path, serialise(state))
        self._state = state
        self._next_slot = SLOTS[1] if self._next_slot == SLOTS[0] else SLOTS[0]

    def _blob(self, sha256: str) -> Path:
        return self._root / BLOBS / sha256

    def _look(self, *, is_verified: bool) -> Found:
        """What lies in the store. Blobs that a state refers to are read and hashed where `is_verified`."""
        slots = {name: _read_slot(self._root / name) for name in SLOTS}
        listed = {f"{folder}/{name}" for folder in _FOLDERS for name in _names(self._root / folder)}
        unfinished = {name for name in _names(self._root) if name.startswith(".state.")}
        wanted = frozenset[str]().union(*(each.blobs for each in slots.values() if isinstance(each, State)))
        intact = frozenset(sha256 for sha256 in wanted if self._is_intact(sha256, is_verified))
        return Found(slots, frozenset(listed | unfinished), intact)

    def _is_intact(self, sha256: str, is_verified: bool) -> bool:
        try:
            return files.sha256_of(self._blob(sha256)) == sha256 if is_verified else self.has(sha256)
        except OSError:
            return False

    def _remove(self, paths: tuple[str, ...], findings: list[UpdateError]) -> None:
        for path in paths:
            entry = self._root / path
            with _told(entry, findings):
                if entry.is_dir() and not entry.is_symlink():
                    files.remove_folder(entry)
                else:
                    entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns an error of the file system into one with a code."""
    try:
        yield
    except OSError as error:
        code = Code.E_SPACE if error.errno in _FULL else Code.E_IO
        raise UpdateError(code, f"{path}: expected it to be written and read, found: {error}") from error


@contextlib.contextmanager
def _told(path: Path, findings: list[UpdateError]) -> Iterator[None]:
    """Notes an error and lets the start go on."""
    try:
        with _named(path):
            yield
    except UpdateError as error:
        findings.append(error)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _read_slot(path: Path) -> State | UpdateError | None:
    try:
        with path.open("rb") as file:
            return parse(file.read(_MAX_STATE_BYTES), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        return UpdateError(Code.E_IO, f"{path}: expected a readable state, found: {error}")
    except UpdateError as error:
        return error


def _is_linked(folder: Path, links: dict[str, Path]) -> bool:
    """Whether a folder has exactly these links."""
    if sorted(_names(folder)) != sorted(links):
        return False
    return all((folder / name).samefile(blob) for name, blob in links.items())
