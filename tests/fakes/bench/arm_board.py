"""An emulated Raspberry Pi for programs of this checkout: the real aarch64 wheels under qemu-user.

Owns the boards' processors and what a program sees of its board. The runtime chooses its kernels by what /proc/cpuinfo
and the processor's own registers say, so each board has files of its own, which QEMU looks for before this machine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.fakes.bench import arm_root

_CHECKOUT = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class Cpu:
    """A board's processor as /proc/cpuinfo tells it; the runtime reads it there."""

    board: str
    part: str
    variant: str
    revision: int
    features: str


CPUS = {
    "cortex-a53": Cpu("Raspberry Pi 3 Model B Plus Rev 1.3", "0xd03", "0x0", 4, "fp asimd evtstrm crc32 cpuid"),
    "cortex-a72": Cpu("Raspberry Pi 4 Model B Rev 1.4", "0xd08", "0x0", 3, "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": Cpu(
        "Raspberry Pi 5 Model B Rev 1.0",
        "0xd0b",
        "0x4",
        1,
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
}
"""Pi 3, 4 and 5, by the name that QEMU knows."""


def python_command(cpu: str, prepared: Path, scratch: Path, *options: str) -> list[str]:
    """What runs Python on this processor; a module and its arguments are appended to it.

    Args:
        cpu: a name of CPUS.
        prepared: the folder of `arm_root.prepare`.
        scratch: a folder for what differs between processors.
        options: further ones of QEMU.
    """
    root = _root_of(cpu, prepared, scratch)
    libraries = (root / folder / "aarch64-linux-gnu" for folder in ("usr/lib", "lib"))
    guest = {
        "PYTHONHOME": root / "usr",
        "PYTHONPATH": f"{prepared / 'site'}:{_CHECKOUT}",
        "PYTHONDONTWRITEBYTECODE": 1,
        "PYTHONHASHSEED": 0,
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
    }
    command = ["qemu-aarch64", *options, "-cpu", cpu, "-L", str(root)]
    command += [word for name, value in guest.items() for word in ("-E", f"{name}={value}")]
    return [*command, str(arm_root.python_of(root))]


def write_cpu(cpu: str, root: Path) -> None:
    """What the kernel of a board with this processor tells of it, as files below a folder: of /proc, and of /sys."""
    system = root / "sys/devices/system/cpu"
    for folder in (root / "proc", system):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "proc/cpuinfo").write_text(_cpuinfo(CPUS[cpu]))
    for name in ("possible", "present"):
        (system / name).write_text("0-3\n")


def _root_of(cpu: str, prepared: Path, scratch: Path) -> Path:
    """A root with this processor's files: QEMU looks for every absolute path in it first."""
    root = scratch / cpu
    if root.exists():
        return root
    write_cpu(cpu, root)
    for entry in (prepared / "root").iterdir():
        (root / entry.name).symlink_to(entry)
    (root / "proc" / "device-tree").mkdir()
    (root / "proc" / "device-tree" / "model").write_text(f"{CPUS[cpu].board}\0")
    return root


def _cpuinfo(cpu: Cpu) -> str:
    cores = [
        f"processor\t: {index}\nBogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {cpu.variant}\nCPU part\t: {cpu.part}\nCPU revision\t: {cpu.revision}\n\n"
        for index in range(4)
    ]
    return "".join(cores) + f"Model\t\t: {cpu.board}\n"
