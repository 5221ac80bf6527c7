"""A release's files onto the device: pulled from whatever has them, resumed, bounded, verified.

Owns the part files. A part is always a *prefix* of the file, whoever gave it, so any source goes on where another
stopped, also after a power cut. Leaves to `sources.py` how bytes are had, and to the store what becomes of a whole
file.

Guarantees: never more bytes on the disk than were signed; what is returned has the signed length and SHA-256 and is
durable; a source that lies, drips or breaks off costs time, never the file; a full or broken disk ends it at once,
with what was there kept for the next try.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeapp.system import files
from edgeapp.system.backoff import Backoff
from edgeapp.updates.codes import Code, UpdateError

_LOGGER = logging.getLogger(__name__)
_FIRST_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
_SPARE_BYTES = 16 * 2**20  # stays free for the spool and the state
_SYNC_BYTES = 4 * 2**20  # at most this much is fetched again after a power cut
_SLOW_S, _SLOW_BYTES = 30.0, 16 * 1024  # a source that gives less than this in that time does not count as one
_FINAL = (Code.E_DEADLINE, Code.E_SPACE, Code.E_IO)  # no other source would do better
_WRONG = (Code.E_LENGTH, Code.E_HASH)  # a source that has something else is not asked again
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Blob:
    """A file as the signed manifest names it: hash in lower-case hex, length in bytes."""

    sha256: str
    length: int


class Source(Protocol):
    """Something that may have blobs."""

    @property
    def name(self) -> str:
        """For the log and the error's text, without credentials."""
        ...

    def chunks(self, blob: Blob, start: int) -> Iterator[tuple[int, bytes]]:
        """The blob's bytes as they come, each chunk with its offset: from `start` on, or from 0 where the source
        cannot begin in the middle. Each wait within is bounded to some 20 s.

        Raises:
            UpdateError: it cannot give them (E_NET, E_HTTP), or has something else under that name (E_LENGTH).
        """
        ...


def download(
    blob: Blob,
    sources: Sequence[Source],
    path: Path,
    *,
    deadline_s: float,
    stop: threading.Event,
    on_progress: Callable[[int], None] = lambda _: None,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> bool:
    """Bring `blob` to `path`, from the first source that has it; blocks until it is there.

    All sources are tried in turn, again and again with growing pauses, until `deadline_s` (of `monotonic_s`).

    Args:
        path: the part file, made or gone on with. Its folder must exist, and nobody else may touch it meanwhile.
        on_progress: called with the bytes that are there.

    Returns:
        True once `path` is whole, verified and durable; False when told to stop. Then, and after any error but
        E_HASH, what is there is kept for the next try.

    Raises:
        UpdateError: E_DEADLINE (with the last source's trouble), E_SPACE, E_IO, or, when every source that can be
            reached gives something else, E_HASH or E_LENGTH.
    """
    _check_space(blob, path)
    trouble = UpdateError(Code.E_NET, "expected a source to fetch from, found none")
    left = list(sources)
    backoff = Backoff(_FIRST_RETRY_S, _MAX_RETRY_S, random.random)
    watch = _Watch(deadline_s, stop, on_progress, monotonic_s)
    with _Part(path, blob) as part:
        while left and not stop.is_set():
            length_before = part.length
            for source in tuple(left):
                try:
                    return _fetch(source, part, watch)
                except UpdateError as error:
                    if error.reason.code in _FINAL:
                        raise
                    trouble = UpdateError(error.reason.code, f"{source.name}: {error}")
                    _LOGGER.info("blob %s: %s: %s", blob.sha256[:12], error.code, trouble)
                    if error.reason.code in _WRONG:
                        left.remove(source)
            if part.length > length_before:
                backoff.reset()
            pause_s = backoff.next_s()
            if left and monotonic_s() + pause_s >= deadline_s:
                raise UpdateError(Code.E_DEADLINE, f"{part.progress} in time; last: {trouble.code}: {trouble}")
            if left:
                stop.wait(pause_s)
    if stop.is_set():
        return False
    raise trouble


def download_all(
    parts: Sequence[tuple[Blob, Path]],
    sources: Sequence[Source],
    *,
    deadline_s: float,
    stop: threading.Event,
    on_progress: Callable[[int], None],
) -> bool:
    """Bring several blobs to their paths, one after the other, as `download` does. Progress is of all together."""
    done_bytes = 0
    for blob, path in parts:

        def note(count: int, before_bytes: int = done_bytes) -> None:
            on_progress(before_bytes + count)

        if not download(blob, sources, path, deadline_s=deadline_s, stop=stop, on_progress=note):
            return False
        done_bytes += blob.length
    return True


@dataclass(frozen=True, slots=True)
class _Watch:
    """What ends a transfer early, and who watches it."""

    deadline_s: float
    stop: threading.Event
    on_progress: Callable[[int], None]
    monotonic_s: Callable[[], float]


def _fetch(source: Source, part: _Part, watch: _Watch) -> bool:
    """Complete and verify the part from one source; False when told to stop."""
    is_from_start = part.length == 0
    if part.length < part.blob.length:
        _append(source, part, watch)
    if watch.stop.is_set():
        return False
    try:
        part.verify()
    except UpdateError as error:
        if error.reason.code is not Code.E_HASH or is_from_start:
            raise
        return _fetch(source, part, watch)  # another one's beginning may be what was wrong
    return True


def _append(source: Source, part: _Part, watch: _Watch) -> None:
    """Append what the source gives, to the end or until told to stop."""
    slow_at_s, came_bytes = watch.monotonic_s() + _SLOW_S, 0
    for offset, chunk in source.chunks(part.blob, part.length):
        part.append(chunk[max(0, part.length - offset) :])
        watch.on_progress(part.length)
        if watch.stop.is_set():
            return
        now_s = watch.monotonic_s()
        if now_s >= watch.deadline_s:
            raise UpdateError(Code.E_DEADLINE, f"{part.progress} in time")
        came_bytes += len(chunk)
        if now_s >= slow_at_s:
            if came_bytes < _SLOW_BYTES:
                raise UpdateError(Code.E_NET, f"gave {came_bytes} bytes in {_SLOW_S:.0f} s")
            slow_at_s, came_bytes = now_s + _SLOW_S, 0
    if part.length < part.blob.length:
        raise UpdateError(Code.E_NET, f"broke off: {part.progress}")


class _Part:
    """The prefix of a blob on disk, open for appending."""

    def __init__(self, path: Path, blob: Blob) -> None:
        self.blob = blob
        self._path = path
        try:
            # No link is followed: a planted one must not make us write elsewhere.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._file = os.fdopen(os.open(path, flags, 0o644), "r+b", buffering=0)
        except OSError as error:
            raise _disk_error(path, error) from error
        self.length = self._synced = os.fstat(self._file.fileno()).st_size
        if self.length > blob.length:  # left by another try, or torn
            self._empty()

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def progress(self) -> str:
        return f"expected {self.blob.length:,} bytes, found {self.length:,}"

    def append(self, chunk: bytes) -> None:
        """Raises UpdateError: E_LENGTH before anything beyond the signed length is written; E_SPACE, E_IO."""
        if self.length + len(chunk) > self.blob.length:
            raise UpdateError(Code.E_LENGTH, f"expected {self.blob.length} bytes as signed, found more")
        try:
            view = memoryview(chunk)
            while view:  # a write may be short, before the disk is full for instance
                written = self._file.write(view)
                self.length += written
                view = view[written:]
            if self.length - self._synced >= _SYNC_BYTES:
                os.fdatasync(self._file.fileno())
                self._synced = self.length
        except OSError as error:
            raise _disk_error(self._path, error) from error

    def verify(self) -> None:
        """Make it durable and check it; one that is wrong is emptied, for nothing tells which byte is.

        Raises:
            UpdateError: E_HASH, E_IO.
        """
        try:
            os.fsync(self._file.fileno())
            files.sync_folder(self._path.parent)
            self._file.seek(0)
            found = hashlib.file_digest(self._file, "sha256").hexdigest()
        except OSError as error:
            raise _disk_error(self._path, error) from error
        if found != self.blob.sha256:
            self._empty()
            raise UpdateError(Code.E_HASH, f"expected SHA-256 {self.blob.sha256} as signed, found {found}")

    def _empty(self) -> None:
        try:
            self._file.truncate(0)
        except OSError as error:
            raise _disk_error(self._path, error) from error
        self.length = self._synced = 0


def _check_space(blob: Blob, path: Path) -> None:
    try:
        disk = os.statvfs(path.parent)
        there = path.lstat().st_size if path.is_file() else 0
    except OSError as error:
        raise _disk_error(path, error) from error
    free, needed = disk.f_bavail * disk.f_frsize, blob.length - there + _SPARE_BYTES
    if free < needed:
        raise UpdateError(Code.E_SPACE, f"{path.parent}: expected {needed:,} bytes free, found {free:,}")


def _disk_error(path: Path, error: OSError) -> UpdateError:
    return UpdateError(Code.E_SPACE if error.errno in _DISK_FULL else Code.E_IO, f"{path}: {error.strerror or error}")
