"""Folders that are expensive to make and made once: whole and unchanged, or made anew.

Owns the keeping of such a folder, not what is in it. A folder's name is its key, and its `index.json` lists every
file with its SHA-256.

Guarantees: a build that was killed, at whatever moment, is never taken for a finished one; of two programs that want
the same folder at once one builds and the other waits for it; a folder that was changed since is built anew. Only the
newest few are kept, so that working on a recipe does not fill the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.system.files import sync_folder, write_durably

INDEX_NAME = "index.json"
_LOCK_NAME = ".lock"
_UNFINISHED_PREFIX = ".building-"
_REMOVED_PREFIX = ".removed-"
_KEPT_FOLDERS = 4


def cached_folder(
    root: Path, key: str, build: Callable[[Path], None], on_wait: Callable[[], None] = lambda: None
) -> tuple[Path, bool]:
    """The folder `root/key`, and whether it was there already.

    Args:
        root: where folders of this kind are kept; created when missing.
        key: names what the folder is made from; another recipe must have another key.
        build: fills an empty folder. Called with a temporary one that becomes `root/key` when it returns.
        on_wait: called once when another program is building and this one starts to wait for it.

    Raises:
        FetchError: the folder cannot be written. What `build` raises passes through, and nothing is kept.
    """
    folder = root / key
    if is_whole(folder):
        return folder, True
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / _LOCK_NAME, on_wait):
            if is_whole(folder):  # the other program has built it meanwhile
                return folder, True
            _build(root, folder, build)
    except OSError as error:
        raise FetchError(f"{root}: expected a folder to build in, found: {error}") from error
    return folder, False


def is_whole(folder: Path) -> bool:
    """Whether the folder holds exactly the files of its index, unchanged."""
    try:
        listed = json.loads((folder / INDEX_NAME).read_bytes())["files"]
        return bool(listed == _hashes(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(root: Path, folder: Path, build: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=root))
    try:
        build(unfinished)
        index = {"files": _hashes(unfinished)}
        for path in _files(unfinished):
            _sync(path)
        write_durably(unfinished / INDEX_NAME, json.dumps(index, indent=2).encode())
        unfinished.chmod(0o755)  # mkdtemp makes it readable for its owner alone
        if folder.exists():
            folder.rename(root / f"{_REMOVED_PREFIX}{unfinished.name}")
        unfinished.rename(folder)
        sync_folder(root)
        _forget_oldest(root)
    finally:
        _sweep(root)


def _forget_oldest(root: Path) -> None:
    indices = sorted(root.glob(f"*/{INDEX_NAME}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for index in indices[_KEPT_FOLDERS:]:
        index.unlink()  # first: a folder that is half removed is not whole
        shutil.rmtree(index.parent, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what this build and killed ones left. Only with the lock, which says that no other is under way."""
    for prefix in (_UNFINISHED_PREFIX, _REMOVED_PREFIX):
        for path in root.glob(f"{prefix}*"):
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock; the kernel lets go of it however the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    """No links: in the tree of another system they lead to files of this machine, which change."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path for path in found if path != folder / INDEX_NAME)


def _hashes(folder: Path) -> dict[str, str]:
    found = {}
    for path in _files(folder):
        with path.open("rb") as content:
            found[path.relative_to(folder).as_posix()] = hashlib.file_digest(content, "sha256").hexdigest()
    return found


def _sync(path: Path) -> None:
    with path.open("rb") as content:
        os.fsync(content.fileno())
    sync_folder(path.parent)
