"""A device on an arm64 machine that qemu imitates: its kernel, its disk, its network, and how one asks how it is.

What is on the disk beside a bare Debian, its owner brings.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.fakes.field import guest_line, kernel
from tests.fakes.field.arm64_site import HOST, Site
from tests.fakes.field.installation import CONFIG, OPT, UNITS
from tests.fakes.field.kernel import Kernel
from tests.fakes.field.machine import LINE_PORTS, Board, Machine, Software
from tests.fakes.field.reached import STATUS_FILE, DeviceTrouble, EdgeappDevice

_PI_LINE = "/dev/ttyS1"  # the second UART of the chip
_PI_TREE = "bcm2837-rpi-3-b.dtb"
# What it takes to mount a card, beside what qemu's own kind of machine needs; one kernel serves both.
_FIRST = (*kernel.VIRTIO, "bcm2835", "mmc_block")
_LATER = ("autofs4", "dwc2", "phy_generic", "cdc_ether", "rndis_host", "bcm2835_thermal", "bcm2835_wdt")
_DISK_BYTES = 4 << 30  # a card's size has to be a power of two
# More processors than two would only be more for this machine to imitate in turns.
_KERNEL_OPTIONS = ("maxcpus=2", "apparmor=0", "selinux=0", "audit=0", "mitigations=off", "systemd.show_status=0")
_UNWANTED = (  # each costs an emulated processor seconds
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "dpkg-db-backup.timer",
    "getty@tty1.service",
)
_BOOT_S = 1500.0  # some 100 s on an idle machine
_NETWORK = f"[Match]\nName=en* eth* usb*\n[Network]\nAddress=10.0.2.15/24\nGateway={HOST}\n"
_LINE_UNIT = f"""[Unit]
Description=what is asked of this machine from outside
DefaultDependencies=no
After=systemd-remount-fs.service
[Service]
ExecStart=/usr/bin/python3 /opt/testing/guest_line.py {" ".join(LINE_PORTS)} {_PI_LINE}
Restart=always
[Install]
WantedBy=sysinit.target
"""


def arm64_kernel(cache: Path) -> Kernel:
    """The kernel of all machines here, with what it takes to boot from a disk of qemu's and from a card.

    Raises:
        FetchError: apt cannot get it.
    """
    return kernel.prepare("arm64", cache, first=_FIRST, later=_LATER, also=(f"usr/lib/*/broadcom/{_PI_TREE}",))


class ArmDevice(EdgeappDevice):
    """Use as a context: at its end the machine is gone."""

    patience = 20.0

    def __init__(self, folder: Path, board: Board, network: str, kernel: Kernel, site: Site) -> None:
        """`network` is qemu's name of the network card."""
        folder.mkdir(parents=True)
        self._disk = folder / "disk.img"
        self._kernel = kernel
        software = Software(
            kernel=kernel.image, initramfs=kernel.initramfs, disk=self._disk, kernel_options=_KERNEL_OPTIONS
        )
        options = ("-netdev", "user,id=net", "-device", network)
        self.machine = Machine(folder, board, software, options=options, prefix=site.prefix)

    @classmethod
    def pi_3b(cls, folder: Path, kernel: Kernel, site: Site) -> Self:
        """A Raspberry Pi 3B: 1 GB, a card, its network on USB, no clock."""
        board = Board(
            architecture="aarch64",
            options=("-M", "raspi3b", "-dtb", str(kernel.image.with_name(_PI_TREE))),
            cpu="cortex-a53",
            console="ttyAMA0",
            disk=("sd", "/dev/mmcblk0"),
            line="serial",
        )
        return cls(folder, board, "usb-net,netdev=net", kernel, site)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.kill()

    def make_disk(self, tree: Path, bring: Callable[[Path], None]) -> None:
        """A disk with a Debian, the kernel's modules, a name and a network; `bring` adds to its tree."""
        with self._disk.open("wb") as image:
            image.truncate(_DISK_BYTES)
        _run("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), str(self._disk))
        root = self._disk.with_suffix(".mounted")
        root.mkdir()
        _run("mount", "-o", "loop", str(self._disk), str(root))
        try:
            shutil.copytree(self._kernel.modules, root / "usr/lib/modules" / self._kernel.version)
            _set_up(root)
            bring(root)
        finally:
            _run("umount", str(root))

    def boot(self) -> float:
        """Switch it on and wait until systemd is up; how long it took, in s."""
        self.machine.start()
        took_s, began_s = self.machine.wait_booted(_BOOT_S), time.monotonic()
        state = self.run("systemctl", "is-system-running", "--wait", check=False).strip()
        if state not in ("running", "degraded"):
            raise DeviceTrouble(f"expected systemd to have started, found it {state}")
        return took_s + time.monotonic() - began_s

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        return self.machine.run(*command, check=check, timeout_s=timeout_s * self.patience)

    def said(self, *command: str) -> str:
        """What a command of edgeapp prints, whatever its exit status."""
        return self.run(f"/{OPT}/current/bin/edgeapp", *command, "--config", f"/{CONFIG}", check=False)

    def status_file(self) -> bytes:
        try:
            return self.machine.read(STATUS_FILE)
        except DeviceTrouble as trouble:
            raise OSError(str(trouble)) from trouble

    def wall_s(self) -> float:
        """The device's time, in seconds since 1970-01-01 UTC."""
        return float(self.run("date", "+%s.%N"))

    def peak_mb(self, unit: str) -> float:
        """The most that a unit's processes have taken together since its start, in MiB."""
        return int(self.machine.read(f"/sys/fs/cgroup/system.slice/{unit}/memory.peak")) / (1 << 20)


def _set_up(root: Path) -> None:
    """A name, a network, and the line to the outside."""
    (root / "opt/testing").mkdir()
    shutil.copy(guest_line.__file__, root / "opt/testing/guest_line.py")
    (root / UNITS / "line.service").write_text(_LINE_UNIT)
    (root / "etc/systemd/network/outside.network").write_text(_NETWORK)
    (root / "etc/hostname").write_text("test-device\n")
    (root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    services = ("line.service", "systemd-networkd.service", "systemd-timesyncd.service")
    _run("systemctl", "--quiet", f"--root={root}", "enable", *services)
    _run("systemctl", "--quiet", f"--root={root}", "mask", *_UNWANTED)


def _run(*command: str) -> None:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
    subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
