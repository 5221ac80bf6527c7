"""Debian's own kernel for an emulated machine: the image, some of its modules, and a first file system to start from.

Owns the choice of the packages, their unpacking, and the initramfs, which is written here: it loads the modules that
the disk needs, mounts it and hands over. Nothing foreign runs while it is made, so it goes for any architecture.
Packages are those of this machine's release, verified by apt with its signed index.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.workshop.build_cache import cached_folder
from tests.fakes.bench import apt as apt_state
from tests.fakes.bench import wheels
from tests.fakes.bench.apt import Apt

PACKAGES = ("kmod",)  # of this machine: depmod
VIRTIO = ("virtio_pci", "virtio_mmio", "virtio_blk", "virtio_console", "virtio_net", "ext4", "crc32c_generic")
_META = {"amd64": "linux-image-amd64", "arm64": "linux-image-arm64"}
_NAME = r"linux-image-\d.*"
_LISTS = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_CONSOLE = 5 << 8 | 1
_INIT = r"""#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t devtmpfs devtmpfs /dev
$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
for module in $($busybox cat /modules); do $busybox insmod /$module || echo "initramfs: $module does not load"; done
disk=$($busybox sed -n 's/^\(.* \)\?root=\([^ ]*\).*/\2/p' /proc/cmdline)
left=600
while [ ! -b "$disk" ] && [ $left -gt 0 ]; do $busybox usleep 100000; left=$((left - 1)); done
$busybox mount -t ext4 "$disk" /root || echo "initramfs: no file system on $disk"
for folder in dev proc sys; do $busybox mount --move /$folder /root/$folder; done
exec $busybox switch_root /root /sbin/init
"""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the parts of one kernel stand. `modules` is the folder lib/modules/VERSION, to be copied to the disk."""

    image: Path
    initramfs: Path
    modules: Path

    @property
    def version(self) -> str:
        return self.modules.name


def prepare(
    architecture: str,
    cache: Path,
    *,
    first: Sequence[str] = VIRTIO,
    later: Sequence[str] = (),
    also: Sequence[str] = (),
) -> Kernel:
    """A kernel, built when the cache does not hold it.

    Args:
        architecture: as Debian names it.
        first: modules that are loaded before the disk is mounted; those that a kernel has built in are no loss.
        later: modules that the disk is to have, besides `first`, all with those that they need.
        also: further files of the package to keep beside the image, as patterns: device trees.

    Raises:
        FetchError: apt cannot get the packages, or they do not hold what is asked for.
    """
    parts = [Path(source).read_bytes() for source in (__file__, apt_state.__file__, "/etc/os-release")]
    parts.append(repr((architecture, first, later, also)).encode())
    key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    folder, _ = cached_folder(
        cache / "kernel" / architecture, key, lambda folder: _build(folder, architecture, first, later, also)
    )
    (modules,) = (folder / "lib/modules").iterdir()
    return Kernel(folder / "vmlinuz", folder / "initramfs", modules)


def _build(folder: Path, architecture: str, first: Sequence[str], later: Sequence[str], also: Sequence[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="edgeapp-kernel-") as scratch:
        apt = Apt(architecture, Path(scratch) / "apt")
        unpacked, busybox = Path(scratch) / "kernel", Path(scratch) / "busybox"
        for name, where in ((apt.dependency(_META[architecture], _NAME), unpacked), ("busybox-static", busybox)):
            wheels.run(["dpkg-deb", "--extract", str(apt.download_alone(name)), str(where)])
        (image,) = unpacked.glob("boot/vmlinuz-*")
        version = image.name.removeprefix("vmlinuz-")
        shutil.copy(image, folder / "vmlinuz")
        for pattern in also:
            for path in unpacked.glob(pattern):
                shutil.copy(path, folder / path.name)
        wheels.run(["depmod", "--basedir", str(unpacked), version])
        modules = Modules(unpacked / "lib/modules" / version)
        kept = folder / "lib/modules" / version
        for module in (*_LISTS, *modules.with_needed([*first, *later])):
            (kept / module).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(modules.folder / module, kept / module)
        wheels.run(["depmod", "--basedir", str(folder), version])
        (folder / "initramfs").write_bytes(initramfs(modules, first, (busybox / "bin/busybox").read_bytes()))


class Modules:
    """What one kernel has as modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._needs: dict[str, list[str]] = {}
        for line in (folder / "modules.dep").read_text().splitlines():
            path, _, needed = line.partition(":")
            self._needs[path] = needed.split()
        self._paths = {_name_of(path): path for path in self._needs}
        self._built_in = {_name_of(line) for line in (folder / "modules.builtin").read_text().splitlines()}

    def with_needed(self, names: Iterable[str]) -> list[str]:
        """The modules' paths below `folder`, each after those that it needs; nothing for what is built in.

        Raises:
            FetchError: this kernel has no such module.
        """
        found: list[str] = []

        def add(path: str) -> None:
            for needed in self._needs[path]:
                add(needed)
            if path not in found:
                found.append(path)

        for name in names:
            if name in self._paths:
                add(self._paths[name])
            elif name not in self._built_in:
                raise FetchError(
                    f"{self.folder.name}: expected the module {name}, found neither it nor its code built in"
                )
        return found


def _name_of(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.rpartition("/")[2]).replace("-", "_")


def initramfs(modules: Modules, first: Sequence[str], busybox: bytes) -> bytes:
    """An archive in the kernel's format (Documentation/driver-api/early-userspace/buffer-format.rst: newc)."""
    archive = _Archive()
    for name in ("bin", "dev", "proc", "sys", "root"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE)
    archive.add("bin/busybox", stat.S_IFREG | 0o755, busybox)
    archive.add("init", stat.S_IFREG | 0o755, _INIT.encode())
    paths = modules.with_needed(first)
    for path in paths:
        archive.add(path.rpartition("/")[2], stat.S_IFREG | 0o644, (modules.folder / path).read_bytes())
    archive.add("modules", stat.S_IFREG | 0o644, "\n".join(path.rpartition("/")[2] for path in paths).encode())
    return archive.end()


class _Archive:
    """A cpio archive as it grows: per entry a head of hexadecimal numbers, name and content, each padded to four."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._count = 0

    def add(self, name: str, mode: int, content: bytes = b"", *, device: int = 0) -> None:
        self._count += 1
        packed = name.encode() + b"\0"
        times_and_sizes = (1, 0, len(content), 0, 0, device >> 8, device & 0xFF, len(packed), 0)
        head = (self._count, mode, 0, 0, *times_and_sizes)
        self._content += b"070701" + b"".join(b"%08X" % number for number in head) + packed
        self._content += b"\0" * (-len(self._content) % 4) + content
        self._content += b"\0" * (-len(self._content) % 4)

    def end(self) -> bytes:
        self.add("TRAILER!!!", 0)
        return bytes(self._content)
