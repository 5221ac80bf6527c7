"""The board underneath: its name, its bits, its cores, its memory, as /proc and /sys tell them.

The root folders can be replaced. What cannot be read is empty or None and no error: boards differ.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

_KIB_PER_MIB = 1024
_POINTER_BITS = struct.calcsize("P") * 8
_64_BIT_MACHINES = ("aarch64", "x86_64", "arm64", "riscv64", "ppc64le")


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """What a person calls the machine. Memory is in MiB.

    `machine` is what the kernel says of the processor; `userland_bits` is of this Python, which may be 32-bit on a
    64-bit kernel: Raspberry Pi OS (32-bit) boots one.
    """

    name: str
    os_name: str
    kernel: str
    machine: str
    kernel_bits: int
    userland_bits: int
    cores: int
    total_mb: float | None
    available_mb: float | None

    @property
    def is_raspberry_pi(self) -> bool:
        return self.name.startswith("Raspberry Pi")


def read_board(
    *,
    proc: Path = Path("/proc"),
    sysfs: Path = Path("/sys"),
    etc: Path = Path("/etc"),
    machine: str = "",
    userland_bits: int = _POINTER_BITS,
) -> Board:
    """The board as it is now. `machine` is that of `uname -m`; empty where nobody asked the kernel."""
    cpuinfo, memory = _read(proc / "cpuinfo"), _read(proc / "meminfo")
    kernel_bits = 64 if machine in _64_BIT_MACHINES else userland_bits if not machine else 32
    return Board(
        name=_name(proc, sysfs, cpuinfo),
        os_name=_os_name(etc),
        kernel=_read(proc / "sys" / "kernel" / "osrelease"),
        machine=machine,
        kernel_bits=kernel_bits,
        userland_bits=userland_bits,
        cores=len(re.findall(r"^processor\s*:", cpuinfo, re.MULTILINE)),
        total_mb=_memory_mb(memory, "MemTotal"),
        available_mb=_memory_mb(memory, "MemAvailable"),
    )


def clock_mhz(sysfs: Path = Path("/sys")) -> float | None:
    """How fast the fastest core runs now; None where the kernel does not scale clocks."""
    rates = [_read(file) for file in (sysfs / "devices/system/cpu/cpufreq").glob("policy*/scaling_cur_freq")]
    return max((int(rate) / 1000 for rate in rates if rate.isdecimal()), default=None)


def _name(proc: Path, sysfs: Path, cpuinfo: str) -> str:
    tree = _read(proc / "device-tree" / "model")
    if tree:
        return tree
    table = sysfs / "class" / "dmi" / "id"
    words = [_read(table / file) for file in ("sys_vendor", "product_name")]
    if any(words):
        return " ".join(word for word in words if word)
    for key in ("Model", "model name", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
        if found:
            return found[1].strip()
    return ""


def _os_name(etc: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read(etc / "os-release"), re.MULTILINE)
    return found[1] if found else ""


def _memory_mb(meminfo: str, key: str) -> float | None:
    found = re.search(rf"^{key}:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) / _KIB_PER_MIB if found else None


def _read(path: Path) -> str:
    """The file's text, without what ends it: a device tree's strings end with a NUL."""
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
