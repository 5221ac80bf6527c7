"""Stores with a classic mistake in them. A rig that does not catch each of them proves nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest import mock

from edgeapp.system import files
from edgeapp.updates import recovery
from edgeapp.updates.recovery import SLOTS, Found
from edgeapp.updates.state import State
from edgeapp.updates.store import Store

_REAL_FSYNC = os.fsync


@contextmanager
def without_fsync(is_spared: Callable[[int], bool]) -> Iterator[None]:
    """What has such a mode is never made durable."""

    def fsync(descriptor: int) -> None:
        if not is_spared(os.fstat(descriptor).st_mode):
            _REAL_FSYNC(descriptor)

    with mock.patch.object(os, "fsync", fsync):
        yield


@contextmanager
def renamed_before_written() -> Iterator[None]:
    """The name is there first, the content later."""

    def write(path: Path, content: bytes, mode: int = 0o644) -> None:
        files_replace(path, b"", mode)
        _in_place(path, content)

    files_replace = files.write_durably
    with mock.patch.object(files, "write_durably", write):
        yield


@contextmanager
def written_in_place() -> Iterator[None]:
    """One copy of the state, and the same file every time."""

    def write(store: Store, state: State) -> None:
        store._next_slot = SLOTS[0]
        real(store, state)

    real = Store._write
    with (
        mock.patch.object(Store, "_write", write),
        mock.patch.object(files, "write_durably", lambda path, content, mode=0: _in_place(path, content)),
    ):
        yield


@contextmanager
def both_states_overwritten() -> Iterator[None]:
    """Two copies of the state, neither of which is safe while the other is written."""

    def write(path: Path, content: bytes, mode: int = 0o644) -> None:
        if path.name not in SLOTS:
            return real(path, content, mode)
        descriptors = [os.open(path.with_name(slot), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) for slot in SLOTS]
        for descriptor in descriptors:
            os.write(descriptor, content)
        for descriptor in descriptors:
            os.fsync(descriptor)
            os.close(descriptor)
        files.sync_folder(path.parent)
        return None

    real = files.write_durably
    with mock.patch.object(files, "write_durably", write):
        yield


@contextmanager
def garbage_before_commit() -> Iterator[None]:
    """What the next state will not need is thrown away while the disk still has the old one."""

    def write(store: Store, state: State) -> None:
        found = store._look(is_verified=False)
        blobs = frozenset(path.rpartition("/")[2] for path in found.files)
        store._remove(recovery.garbage(Found({}, found.files, blobs), state), [])
        real(store, state)

    real = Store._write
    with mock.patch.object(Store, "_write", write):
        yield


def _in_place(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(descriptor, content)
    os.fsync(descriptor)
    os.close(descriptor)
    files.sync_folder(path.parent)


BROKEN: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "without fsync of the file": lambda: without_fsync(stat.S_ISREG),
    "without fsync of the folder": lambda: without_fsync(stat.S_ISDIR),
    "renamed before it is written": renamed_before_written,
    "one state, written in place": written_in_place,
    "both states overwritten at once": both_states_overwritten,
    "garbage thrown away before the commit": garbage_before_commit,
}

# A kill leaves the page cache behind, so it does not show what was never made durable.
SEEN_BY_KILLS = ("renamed before it is written", "one state, written in place", "both states overwritten at once")
