"""The board as /proc and /sys of real machines tell it."""

from __future__ import annotations

from pathlib import Path

from edgeapp.system.board import Board, clock_mhz, read_board

_PI_CPUINFO = "".join(f"processor\t: {core}\nBogoMIPS\t: 108.00\n\n" for core in range(4))
_PI_CPUINFO += "Revision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(root: Path, machine: str, userland_bits: int = 64) -> Board:
    return read_board(
        proc=root / "proc", sysfs=root / "sys", etc=root / "etc", machine=machine, userland_bits=userland_bits
    )


def test_a_raspberry_pi(tmp_path: Path) -> None:
    write(
        tmp_path,
        proc__device_tree__model="Raspberry Pi 4 Model B Rev 1.4\0",
        proc__cpuinfo=_PI_CPUINFO,
        proc__meminfo="MemTotal:        1893376 kB\nMemFree: 1 kB\nMemAvailable:    1536000 kB\n",
        proc__sys__kernel__osrelease="6.6.31+rpt-rpi-v8\n",
        etc__os_release='NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    )
    board = read(tmp_path, "aarch64")
    assert board == Board(
        name="Raspberry Pi 4 Model B Rev 1.4",
        os_name="Debian GNU/Linux 12 (bookworm)",
        kernel="6.6.31+rpt-rpi-v8",
        machine="aarch64",
        kernel_bits=64,
        userland_bits=64,
        cores=4,
        total_mb=1849.0,
        available_mb=1500.0,
    )
    assert board.is_raspberry_pi


def test_32_bit_programs_on_a_64_bit_kernel(tmp_path: Path) -> None:
    board = read(tmp_path, "aarch64", userland_bits=32)
    assert (board.kernel_bits, board.userland_bits) == (64, 32)
    assert read(tmp_path, "armv7l", userland_bits=32).kernel_bits == 32


def test_a_pc_is_named_by_its_firmware(tmp_path: Path) -> None:
    write(tmp_path, sys__class__dmi__id__product_name="NUC7i3\n", sys__class__dmi__id__sys_vendor="Intel\n")
    # These two names have an underscore in the kernel.
    table = tmp_path / "sys/class/dmi/id"
    (table / "product-name").rename(table / "product_name")
    (table / "sys-vendor").rename(table / "sys_vendor")
    board = read(tmp_path, "x86_64")
    assert board.name == "Intel NUC7i3"
    assert not board.is_raspberry_pi


def test_without_firmware_the_processor_names_the_board(tmp_path: Path) -> None:
    write(tmp_path, proc__cpuinfo="processor\t: 0\nmodel name\t: AMD EPYC\n")
    assert read(tmp_path, "x86_64").name == "AMD EPYC"


def test_a_machine_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    board = read(tmp_path, "")
    assert (board.name, board.cores, board.total_mb, board.available_mb) == ("", 0, None, None)


def test_this_machine() -> None:
    board = read_board()
    assert board.cores >= 1
    assert board.available_mb is not None
    assert board.total_mb is not None
    assert 0 < board.available_mb <= board.total_mb


def test_the_clock_is_that_of_the_fastest_core_or_honestly_unknown(tmp_path: Path) -> None:
    assert clock_mhz(tmp_path) is None
    for number, khz in enumerate(("1800000", "600000", "<unknown>")):
        policy = tmp_path / "devices/system/cpu/cpufreq" / f"policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_cur_freq").write_text(f"{khz}\n")
    assert clock_mhz(tmp_path) == 1800.0
