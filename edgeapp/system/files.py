"""Files that are whole or not there: atomic replacement, durable where that matters, and one lock per daemon.

Guarantee of `write_durably`, `rewrite_durably`, `move_durably` and `link_durably`: after they returned, a power cut
leaves the new file or folder; before, the old or the new one, never a mixture. `replace_quickly` gives only the second
half and is for files in memory (/run).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from edgeapp.errors import AlreadyRunningError


def replace_quickly(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step, without waiting for a disk."""
    _replace(path, content, mode, is_durable=False)


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file in one step and wait until it would survive a power cut."""
    _replace(path, content, mode, is_durable=True)


def rewrite_durably(path: Path, content: bytes) -> None:
    """As `write_durably`, for a file that is there: whose it is and who may read it stay as they are. A link is
    followed."""
    path = path.resolve(strict=True)
    _replace(path, content, 0o600, is_durable=True, like=path.stat())


def _replace(path: Path, content: bytes, mode: int, *, is_durable: bool, like: os.stat_result | None = None) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            if like is not None:
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if is_durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if is_durable:
        sync_folder(path.parent)


def move_durably(source: Path, target: Path) -> None:
    """Move a finished file, content and name, so that it would survive a power cut. Both lie on one file system."""
    sync_file(source)
    source.replace(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def link_durably(folder: Path, files: Mapping[str, Path]) -> None:
    """Make a folder in one step that has, under each name, a hard link to a file. What has its name goes."""
    unfinished = folder.with_name(f".{folder.name}.new")
    for each in (unfinished, folder):
        remove_folder(each)
    unfinished.mkdir()
    for name, file in files.items():
        (unfinished / name).hardlink_to(file)
    sync_folder(unfinished)
    unfinished.replace(folder)
    sync_folder(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder of files, where there is one."""
    if folder.is_dir():
        for entry in folder.iterdir():
            entry.unlink()
        folder.rmdir()


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    _sync(path, os.O_NOFOLLOW)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries (creations, renames) durable."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flag: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | flag | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hold_lock(path: Path) -> int:
    """Take the lock file for the life of this process; the kernel lets go of it however the process ends.

    Returns:
        The open descriptor; keep it.

    Raises:
        AlreadyRunningError: another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise AlreadyRunningError(f"{path}: expected to be free, found it held by process {holder or '?'}") from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
