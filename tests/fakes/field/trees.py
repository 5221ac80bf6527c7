"""The trees that a device can be built on: this machine's own, or a fresh Debian of another release.

A tree is only read: a device's changes go to a layer above it.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeapp.workshop.build_cache import cached_folder
from tests.fakes.bench import wheels

_DEBIAN = ("systemd", "systemd-sysv", "dbus", "procps", "util-linux", "findutils", "passwd", "python3")
_WHEELS = (
    "ai-edge-litert",
    "backports-strenum",
    "cffi",
    "cryptography",
    "flatbuffers",
    "numpy",
    "opencv-python-headless",
    "paho-mqtt",
    "pycparser",
    "pyyaml",
    "securesystemslib",
    "tuf",
    "urllib3",
)


@dataclass(frozen=True, slots=True)
class Tree:
    """A Debian with a Python; `packages` are the product's dependencies for that Python."""

    root: Path
    python: Path
    packages: Path


def own_tree() -> Tree:
    """This machine, and the packages of this environment."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Tree(Path("/"), Path("/usr/bin") / python, Path(sys.prefix) / "lib" / python / "site-packages")


def debian_tree(release: str, python_version: str, cache: Path, *, more: Sequence[str] = ()) -> Tree:
    """A fresh Debian with the wheels for its Python, built by mmdebstrap when the cache does not hold it.

    `more` are further packages.

    Raises:
        FetchError: mmdebstrap or pip cannot get the packages.
    """
    parts = [
        Path(__file__).read_bytes(),
        Path(wheels.__file__).read_bytes(),
        wheels.LOCK.read_bytes(),
        " ".join((release, *more)).encode(),
    ]
    key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]

    def build(folder: Path) -> None:
        root = folder / "root"
        wheels.run(["mmdebstrap", "--variant=minbase", f"--include={','.join((*_DEBIAN, *more))}", release, str(root)])
        for name in ("usr/share/doc", "usr/share/locale", "usr/share/man"):
            shutil.rmtree(root / name, ignore_errors=True)
        machine = platform.machine()
        wheels.install_wheels(folder / "site", _WHEELS, python_version=python_version, machine=machine)

    folder = cached_folder(cache / "debian" / release, key, build)[0]
    return Tree(folder / "root", Path(f"/usr/bin/python{python_version}"), folder / "site")
