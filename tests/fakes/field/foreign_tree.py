"""A bare Debian of another processor than this machine's, for a machine that qemu imitates.

The packages are unpacked and then set up from outside, with this machine's systemd tools: no maintainer script runs, so
nothing foreign runs while the tree is made, and nothing of this machine (binfmt_misc) is changed. `kernel.py` has the
kernel.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from edgeapp.workshop.build_cache import cached_folder
from tests.fakes.bench import wheels

HOST_PACKAGES = ("mmdebstrap", "systemd")
# What every Debian has (Essential: yes), then what this device has besides.
_DEBIAN = """
base-files base-passwd bash bsdutils coreutils dash debianutils diffutils findutils grep gzip hostname
init-system-helpers libc-bin login mount ncurses-base ncurses-bin perl-base sed sysvinit-utils tar util-linux

dbus iproute2 kmod libstdc++6 mawk passwd procps python3 systemd systemd-sysv systemd-timesyncd udev
"""
_NOT_CARRIED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/info", "etc/init.d")
_FOLDERS = ("dev", "etc/systemd/network", "home", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp")
_LINKS = {"etc/os-release": "../usr/lib/os-release", "usr/bin/awk": "mawk"}
_USERS = 'u messagebus - "dbus" /nonexistent\n'


def foreign_tree(architecture: str, release: str, cache: Path) -> Path:
    """The root folder of a Debian, built by mmdebstrap when the cache does not hold it.

    `architecture` is as Debian names it.

    Raises:
        FetchError: mmdebstrap cannot get the packages, or this machine's tools cannot set the tree up.
    """
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]

    def build(folder: Path) -> None:
        root = folder / "root"
        command = ["mmdebstrap", f"--architectures={architecture}", "--variant=extract"]
        command += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--include={','.join(_DEBIAN.split())}"]
        wheels.run([*command, release, str(root)])
        _set_up(root)

    return cached_folder(cache / "debian" / f"{release}-{architecture}", key, build)[0] / "root"


def _set_up(root: Path) -> None:
    """What maintainer scripts would have done, as far as systemd, users and programs need it."""
    for name in _NOT_CARRIED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for kind in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{kind}.master", root / "etc" / kind)
    users = [line.split(":")[0] for line in (root / "etc/passwd").read_text().splitlines()]
    (root / "etc/shadow").write_text("".join(f"{user}:*:19000:0:99999:7:::\n" for user in users))
    (root / "etc/shadow").chmod(0o640)
    (root / "usr/lib/sysusers.d/dbus.conf").write_text(_USERS)
    for link, target in _LINKS.items():
        if not os.path.lexists(root / link):
            (root / link).symlink_to(target)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    wheels.run(["systemd-sysusers", f"--root={root}"])
    wheels.run(["systemctl", "--quiet", f"--root={root}", "preset-all"])
    wheels.run(["/usr/sbin/ldconfig", "-r", str(root)])
