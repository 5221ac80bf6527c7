"""A root folder with aarch64 Python and wheels, in which qemu-aarch64 runs programs of this checkout.

Owns how it is made: Debian's arm64 packages by an apt state of its own, unpacked with dpkg-deb, so nothing of the
machine changes and nothing foreign runs while it is built (no chroot, binfmt or debootstrap); wheels by pip, pinned by
requirements.lock, which holds the hashes for aarch64 too. Debian's packages are verified by the sha256 of apt's signed
index and are those of the machine's own release: a list of hashes here would be void with Debian's next update, since
its archive keeps one version of a package. `packages.txt` in the folder says what was taken.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from pathlib import Path

from edgeapp.workshop.build_cache import cached_folder
from edgeapp.workshop.progress import Progress
from tests.fakes.bench.wheels import LOCK, install_wheels, run

HOST_PACKAGES = ("qemu-user", "gcc", "libc6-dev")
_ARM_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_WHEELS = ("ai-edge-litert", "backports-strenum", "flatbuffers", "numpy", "opencv-python-headless")
_KEPT = ("lib", "usr")
_DROPPED = ("usr/share", "usr/sbin")


def prepare(cache: Path, progress: Progress) -> Path:
    """The folder, with `root` and `site` in it; built when the cache does not hold it.

    Raises:
        FetchError: apt or pip cannot get the packages.
    """
    parts = [Path(__file__).read_bytes(), LOCK.read_bytes(), Path("/etc/os-release").read_bytes()]
    key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    return cached_folder(cache / "arm", key, lambda folder: _build(folder, progress))[0]


def _build(folder: Path, progress: Progress) -> None:
    root = folder / "root"
    with tempfile.TemporaryDirectory(prefix="bench-apt-") as state:
        packages = _download_packages(Path(state), progress)
        (folder / "packages.txt").write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in packages))
        for done, package in enumerate(packages):
            progress("unpack Debian's packages", done / len(packages))
            run(["dpkg-deb", "--extract", str(package), str(root)])
    for name in _DROPPED:
        shutil.rmtree(root / name, ignore_errors=True)
    for other in root.iterdir():
        if other.name not in _KEPT:
            shutil.rmtree(other)
    progress("unpack Debian's packages", 1.0)
    progress("fetch wheels for aarch64", 0.0)
    version = python_of(root).name.removeprefix("python")
    install_wheels(folder / "site", _WHEELS, python_version=version, machine="aarch64")
    progress("fetch wheels for aarch64", 1.0)


def python_of(root: Path) -> Path:
    """The interpreter in a root folder."""
    return next(path for path in (root / "usr" / "bin").iterdir() if re.fullmatch(r"python3\.\d+", path.name))


def _download_packages(state: Path, progress: Progress) -> list[Path]:
    step = "fetch Debian's packages for arm64"
    archives = state / "cache" / "archives"
    for folder in (state / "lists" / "partial", archives / "partial"):
        folder.mkdir(parents=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",  # it could not write to a private folder
        "Debug::NoLocking": "true",
        "Dir::Cache": state / "cache",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
    }
    command = ["apt-get", "-qq", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    progress(step, 0.0)
    run([*command, "update"])
    progress(step, 0.3)
    run([*command, "--yes", "--download-only", "install", *_ARM_PACKAGES])
    progress(step, 1.0)
    return sorted(archives.glob("*.deb"))


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
