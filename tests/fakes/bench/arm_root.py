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

from edgeapp.system.files import sha256_of
from edgeapp.workshop.build_cache import cached_folder
from edgeapp.workshop.progress import Progress
from tests.fakes.bench import apt as apt_state
from tests.fakes.bench import wheels
from tests.fakes.bench.apt import Apt

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
    parts = [
        Path(__file__).read_bytes(),
        Path(apt_state.__file__).read_bytes(),
        Path(wheels.__file__).read_bytes(),
        wheels.LOCK.read_bytes(),
        Path("/etc/os-release").read_bytes(),
    ]
    key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    return cached_folder(cache / "arm", key, lambda folder: _build(folder, progress))[0]


def _build(folder: Path, progress: Progress) -> None:
    root = folder / "root"
    with tempfile.TemporaryDirectory(prefix="bench-apt-") as state:
        packages = _download_packages(Path(state), progress)
        (folder / "packages.txt").write_text("".join(f"{sha256_of(path)}  {path.name}\n" for path in packages))
        for done, package in enumerate(packages):
            progress("unpack Debian's packages", done / len(packages))
            wheels.run(["dpkg-deb", "--extract", str(package), str(root)])
    for name in _DROPPED:
        shutil.rmtree(root / name, ignore_errors=True)
    for other in root.iterdir():
        if other.name not in _KEPT:
            shutil.rmtree(other)
    progress("unpack Debian's packages", 1.0)
    progress("fetch wheels for aarch64", 0.0)
    version = python_of(root).name.removeprefix("python")
    wheels.install_wheels(folder / "site", _WHEELS, python_version=version, machine="aarch64")
    progress("fetch wheels for aarch64", 1.0)


def python_of(root: Path) -> Path:
    """The interpreter in a root folder."""
    return next(path for path in (root / "usr" / "bin").iterdir() if re.fullmatch(r"python3\.\d+", path.name))


def _download_packages(state: Path, progress: Progress) -> list[Path]:
    step = "fetch Debian's packages for arm64"
    progress(step, 0.0)
    apt = Apt("arm64", state)
    progress(step, 0.3)
    packages = apt.download(*_ARM_PACKAGES)
    progress(step, 1.0)
    return packages
