"""edgeapp on a machine that qemu imitates, whichever it is: how it is reached, asked and changed over its line."""

from __future__ import annotations

from tests.fakes.field.changeable import CAMERA, ChangeableDevice
from tests.fakes.field.installation import CONFIG, OPT
from tests.fakes.field.machine import Machine
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.reached import STATUS_FILE, DeviceTrouble
from tests.fakes.subscriber import Subscriber

_CAMERA_MODULE = ("vivid", "n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0")
_GROUPS = "/sys/fs/cgroup/system.slice"


class MachineDevice(ChangeableDevice):
    """`set_clock` needs tests/fakes on its disk, below /opt/edgeapp/testing."""

    broker_host = "10.0.2.2"  # what qemu's own network calls this machine
    opened_camera = ("ok",)
    machine: Machine

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

    def read(self, path: str) -> bytes:
        return self.machine.read(path)

    def write(self, path: str, content: bytes) -> None:
        self.machine.write(path, content)

    def remove(self, path: str) -> None:
        self.run("rm", path)

    def pid(self, unit: str) -> int:
        """As the control group tells: to ask systemd starts a process, which costs an emulated processor much."""
        try:
            members = self.machine.read(f"{_GROUPS}/{unit}/cgroup.procs").split()
        except DeviceTrouble:
            return 0  # no process, no control group
        return int(members[0]) if members else 0

    def subscriber(self) -> Subscriber:
        return Subscriber(self.broker.address, "edgeapp/v1/#", login=("edgeapp", PASSWORD))

    def load_camera(self) -> None:
        """The camera's driver is loaded, as when a camera is plugged in for the first time."""
        self.run("modprobe", *_CAMERA_MODULE)

    def place_camera(self) -> None:
        self.run("test", "-c", CAMERA)

    def wall_s(self) -> float:
        """The device's time, in seconds since 1970-01-01 UTC."""
        return float(self.run("date", "+%s.%N"))

    def set_clock(self, wall_s: float, *, is_synchronised: bool) -> None:
        """Set the kernel's clock, and have the kernel say whether a time service keeps it right."""
        python, module = f"/{OPT}/current/bin/python", "tests.fakes.field.clock_setter"
        words = (str(wall_s), "synchronised" if is_synchronised else "free")
        self.run("env", f"PYTHONPATH=/{OPT}/testing", python, "-m", module, *words)
