"""edgeapp on a machine that qemu imitates: Debian's kernel and systemd, the shipped units, real drivers and a disk.

Owns what is on the disk and what the machine has: vivid, the kernel's own test camera, whose driver is to be loaded; a
thermal zone whose temperature is told from outside; a network with this machine, where the broker is. The Debian is a
fresh one, and the image of its disk is made anew each time.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.fakes.broker import Broker
from tests.fakes.field import guest_line, installation, kernel
from tests.fakes.field.changeable import CAMERA
from tests.fakes.field.installation import OPT, ROOT, UNITS
from tests.fakes.field.kernel import Kernel
from tests.fakes.field.machine import LINE_PORTS, PC, Accelerator, Machine, Software
from tests.fakes.field.machine_device import MachineDevice
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.nspawn import overlay
from tests.fakes.field.trees import Tree
from tests.fakes.updating_device import UpdatingDevice

PACKAGES = ("qemu-system-x86", "acpica-tools", "mmdebstrap", "e2fsprogs", *kernel.PACKAGES)
DEBIAN = ("kmod", "udev", "iproute2")
MODULES = ("vivid", "thermal", "button", "autofs4", "fuse", "overlay", "loop")
ZONE = "/sys/class/thermal/thermal_zone0"
_DRIVER = "/sys/bus/platform/drivers/vivid"
_HEAT_PORT = 0x3EF  # see thermal.asl
_NETWORK = "[Match]\nName=en* eth*\n[Network]\nAddress=10.0.2.15/24\n"
_BOOT_S = 100.0
_QUICK_BOOT_S = 8.0  # until the guest takes commands, with KVM on an idle machine
_DISK_BYTES = 3 << 30
_TCG_PATIENCE = 6.0
_UNWANTED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
)
_KERNEL_OPTIONS = ("apparmor=0", "selinux=0", "audit=0", "mitigations=off", "systemd.show_status=0")
_LINE_UNIT = f"""[Unit]
Description=what is asked of this machine from outside
DefaultDependencies=no
After=systemd-remount-fs.service
[Service]
ExecStart=/usr/bin/python3 /{OPT}/testing/guest_line.py {" ".join(LINE_PORTS)}
Restart=always
OOMScoreAdjust=-1000
[Install]
WantedBy=sysinit.target
"""


class EmulatedDevice(MachineDevice):
    """Boot it after entering the context."""

    def __init__(self, folder: Path, tree: Tree, kernel: Kernel, accelerator: Accelerator) -> None:
        self._folder, self._tree, self._kernel = folder, tree, kernel
        self._stack = ExitStack()
        self.patience = _TCG_PATIENCE if accelerator == "tcg" else 1.0
        self.made = UpdatingDevice(folder / "made", port=0)
        self.broker = Broker(folder / "broker", users={"edgeapp": PASSWORD})
        disk = folder / "disk.img"
        software = Software(kernel=kernel.image, initramfs=kernel.initramfs, disk=disk, kernel_options=_KERNEL_OPTIONS)
        table = folder / "thermal"
        options = ["-nic", "user,model=virtio-net-pci", "-acpitable", f"file={table}.aml"]
        options += ["-chardev", "null,id=heat", "-device", "isa-serial,chardev=heat,index=2"]
        self.machine = Machine(folder, PC, software, accelerator=accelerator, options=options)
        self._table, self._disk = table, disk

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.broker)
            self._stack.enter_context(self.machine)
            compile_table = ["iasl", "-p", str(self._table), str(Path(__file__).with_name("thermal.asl"))]
            subprocess.run(compile_table, check=True, capture_output=True, text=True)
            self._make_disk()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def boot(self, *options: str) -> float:
        """Switch it on, with further options of qemu, and wait for edgeapp's status; how long it took, in s."""
        self.machine.start(*options)
        return self.wait_booted()

    def wait_booted(self) -> float:
        """Wait for a boot that was not seen yet; how long it took, in s."""
        took_s = self.machine.wait_booted(_BOOT_S * self.patience)
        self.patience = max(self.patience, took_s / _QUICK_BOOT_S)
        return took_s + self.wait(lambda: self.status() is not None, "edgeapp's status", _BOOT_S)

    def unplug_camera(self) -> None:
        """The driver lets go of the camera, as it does of one whose cable is pulled."""
        self.run("sh", "-c", f"echo vivid.0 > {_DRIVER}/unbind")

    def plug_camera(self) -> None:
        self.run("sh", "-c", f"echo vivid.0 > {_DRIVER}/bind")

    def heat(self, temp_c: int) -> None:
        """Have the thermal zone tell this temperature, in °C."""
        self.machine.out_byte(_HEAT_PORT, temp_c)

    def copy_from_disk(self, path: str) -> Path:
        """A copy of a folder of its disk, while it is off."""
        folder = self._folder / "copied"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self._look_at_disk("debugfs", "-R", f"rdump {path} {folder}")
        return folder / Path(path).name

    def is_disk_clean(self) -> bool:
        """Whether its file system was let go of in order, nothing left to be done from its journal; while it is off."""
        said = self._look_at_disk("dumpe2fs", "-h")
        state = re.search(r"^Filesystem state: +(.+)$", said, re.MULTILINE)
        assert state, said
        return state[1] == "clean" and "needs_recovery" not in said

    def _look_at_disk(self, *command: str) -> str:
        done = subprocess.run(
            [*command, str(self._disk)], check=True, capture_output=True, text=True, env=_environment()
        )
        return done.stdout

    def _make_disk(self) -> None:
        with overlay(self._folder / "tree", self._tree.root) as root:
            self._prepare(root)
            with self._disk.open("wb") as image:
                image.truncate(_DISK_BYTES)
            make = ["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", str(root), str(self._disk)]
            subprocess.run(make, check=True, capture_output=True, text=True, env=_environment())

    def _prepare(self, root: Path) -> None:
        installation.install_program(root, self._tree)
        installation.install_units(root)
        installation.bring_possessions(root, self.made, PASSWORD)
        shutil.copytree(self._tree.packages, root / OPT / "packages")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "tests/fakes", root / OPT / "testing/tests/fakes", ignore=ignored)
        shutil.copy(guest_line.__file__, root / OPT / "testing")
        shutil.copytree(self._kernel.modules, root / "usr/lib/modules" / self._kernel.version)
        (root / UNITS / "line.service").write_text(_LINE_UNIT)
        (root / "etc/systemd/network/outside.network").write_text(_NETWORK)
        (root / "etc/hostname").write_text("test-device\n")
        (root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
        (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
        for version in (2, 3):
            self.made.release(version)
        shutil.copytree(self.made.stick, root / "srv/stick")
        systemctl = ["systemctl", "--quiet", f"--root={root}"]
        subprocess.run([*systemctl, "enable", "line.service", "systemd-networkd.service"], check=True)
        subprocess.run([*systemctl, "mask", *_UNWANTED], check=True)
        camera = {"kind": "v4l2", "source": CAMERA, "width": 640, "height": 360, "fps": 15.0}
        self.config = installation.configuration(camera, self.broker_host, self.broker.port)
        self.config["thermal"] = {"sensor_path": f"{ZONE}/temp"}
        (root / installation.CONFIG).write_text(installation.merged(self.config, {}))
        for folder in ("etc", "var"):  # what a first boot would make anew is there already
            (root / folder / ".updated").touch()


def _environment() -> dict[str, str]:
    """With the tools for file systems within reach, which Debian keeps from users."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
