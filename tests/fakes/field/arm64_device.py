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

from tests.fakes.field import guest_line, installation, kernel
from tests.fakes.field.arm64_site import Site
from tests.fakes.field.installation import OPT, ROOT, UNITS
from tests.fakes.field.kernel import Kernel
from tests.fakes.field.machine import LINE_PORTS, Board, Machine, Software
from tests.fakes.field.machine_device import MachineDevice
from tests.fakes.field.reached import DeviceTrouble
from tests.fakes.updating_device import UpdatingDevice

_PI_LINE = "/dev/ttyS1"  # the second UART of the chip
_PI_TREE = "bcm2837-rpi-3-b.dtb"
# What it takes to mount a card, beside what qemu's own kind of machine needs; one kernel serves both.
_FIRST = (*kernel.VIRTIO, "bcm2835", "mmc_block")
_LATER = (
    "autofs4",
    "dwc2",
    "phy_generic",
    "cdc_ether",
    "rndis_host",
    "bcm2835_thermal",
    "bcm2835_wdt",
    "vivid",
    "fuse",
)
_DISK_BYTES = 4 << 30  # a card's size has to be a power of two
# No maxcpus=: a processor that the kernel leaves in the firmware's loop never rests, and qemu's time then goes by the
# few instructions of that loop, thirty times slower than this machine's.
_KERNEL_OPTIONS = ("apparmor=0", "selinux=0", "audit=0", "mitigations=off", "systemd.show_status=0")
_UNWANTED = (  # each costs an emulated processor seconds
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "dpkg-db-backup.timer",
    "getty@tty1.service",
)
_BOOT_S = 1500.0  # some 60 s on an idle machine
_QUICK_BOOT_S = 3.0  # so that limits are twenty times a board's there
_NETWORK = f"[Match]\nName=en* eth* usb*\n[Network]\nAddress=10.0.2.15/24\nGateway={MachineDevice.broker_host}\n"
FPS = 2  # at 20 it has work at all times, and a second of its own lasts twenty of this machine's
_CAMERA = {"kind": "video", "source": "/srv/video.avi"}
_LINE_UNIT = f"""[Unit]
Description=what is asked of this machine from outside
DefaultDependencies=no
After=systemd-remount-fs.service
[Service]
ExecStart=/usr/bin/python3 /{OPT}/testing/guest_line.py {" ".join(LINE_PORTS)} {_PI_LINE}
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


class ArmDevice(MachineDevice):
    """Use as a context: at its end the machine is gone."""

    patience = 20.0

    def __init__(
        self, folder: Path, board: Board, network: str, kernel: Kernel, site: Site, made: UpdatingDevice
    ) -> None:
        """`network` is qemu's name of the network card."""
        folder.mkdir(parents=True)
        self.made, self.broker = made, site.broker
        self.config = installation.configuration(_CAMERA, self.broker_host, self.broker.port)
        self.config["inference"]["max_fps"] = FPS
        self._disk = folder / "disk.img"
        self._kernel = kernel
        software = Software(
            kernel=kernel.image, initramfs=kernel.initramfs, disk=self._disk, kernel_options=_KERNEL_OPTIONS
        )
        options = ("-netdev", "user,id=net", "-device", network)
        self.machine = Machine(folder, board, software, options=options, prefix=site.prefix)

    @classmethod
    def pi_3b(cls, folder: Path, kernel: Kernel, site: Site, made: UpdatingDevice) -> Self:
        """A Raspberry Pi 3B: 1 GB, a card, its network on USB, no clock."""
        board = Board(
            architecture="aarch64",
            options=("-M", "raspi3b", "-dtb", str(kernel.image.with_name(_PI_TREE))),
            cpu="cortex-a53",
            console="ttyAMA0",
            disk=("sd", "/dev/mmcblk0"),
            line="serial",
        )
        return cls(folder, board, "usb-net,netdev=net", kernel, site, made)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.kill()

    def place_camera(self) -> None:
        """Plug in the kernel's test camera, where it is not."""
        self.load_camera()
        self.run("udevadm", "settle")
        super().place_camera()

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
        took_s += time.monotonic() - began_s
        self.patience = max(self.patience, took_s / _QUICK_BOOT_S)
        return took_s


def _set_up(root: Path) -> None:
    """A name, a network, and the line to the outside."""
    testing = root / OPT / "testing"
    shutil.copytree(ROOT / "tests/fakes", testing / "tests/fakes", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(guest_line.__file__, testing)
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
