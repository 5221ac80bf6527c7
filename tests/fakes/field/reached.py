"""What can be asked of any device that runs commands for us: in a container, or in a machine that qemu imitates."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.status import Status

CONTROL, VISION, SOCKET = "edgeapp.service", "edgeapp-vision.service", "edgeapp-vision.socket"
STATUS_FILE = "/run/edgeapp/status.json"
_LOOK_S = 0.1
_SHOWN_LINES = 30


class DeviceTrouble(AssertionError):
    """The device did not do in time what it should."""


class ReachedDevice(ABC):
    """A device with systemd. `patience` is by how much all limits are longer: where it is slower than a real one."""

    patience = 1.0

    @abstractmethod
    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        """What a command says that is run in the device as root.

        Raises:
            DeviceTrouble: it ends with another status than 0 (unless `check` is False).
        """

    def wait(self, is_so: Callable[[], object], what: str, timeout_s: float = 20.0) -> float:
        """Wait until it is so; how long it took, in s.

        Raises:
            DeviceTrouble: it did not become so in time.
        """
        began_s, limit_s = time.monotonic(), timeout_s * self.patience
        while not is_so():
            if time.monotonic() - began_s > limit_s:
                raise DeviceTrouble(f"waited {limit_s:g} s for {what}")
            time.sleep(_LOOK_S * self.patience)
        return time.monotonic() - began_s

    def pid(self, unit: str) -> int:
        """The id of a unit's main process as the device sees it; 0 where none runs."""
        return int(self.ask(unit, "MainPID") or 0)

    def ask(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()

    def journal(self, *options: str) -> str:
        return self.run("journalctl", "--no-pager", "--quiet", *options)


class EdgeappDevice(ReachedDevice):
    """A device on which edgeapp's units run."""

    @abstractmethod
    def status_file(self) -> bytes:
        """The daemon's status file.

        Raises:
            OSError: there is none, or the device cannot be reached.
        """

    def status(self) -> Status | None:
        """The daemon's status."""
        try:
            return read_json(Status, self.status_file(), "status")
        except (OSError, EdgeAppError):
            return None

    def wait_status(self, is_so: Callable[[Status], object], what: str, timeout_s: float = 30.0) -> Status:
        """Wait until the running daemon's status satisfies `is_so`."""
        found: list[Status] = []

        def is_found() -> bool:
            status = self.status()
            if status is None or status.pid != self.pid(CONTROL) or not is_so(status):
                return False
            found.append(status)
            return True

        try:
            self.wait(is_found, what, timeout_s)
        except DeviceTrouble as trouble:
            log = self.journal(f"--lines={_SHOWN_LINES}", "--unit", CONTROL, "--unit", VISION)
            raise DeviceTrouble(f"{trouble}; status: {self.status()}\n{log}") from None
        return found[0]

    def wait_inferring(self, timeout_s: float = 30.0) -> Status:
        """Wait until frames are inferred, from now on."""
        before = self.status()
        count = before.frames_inferred if before is not None and before.pid == self.pid(CONTROL) else 0
        return self.wait_status(lambda now: now.frames_inferred > count, "inference", timeout_s)

    def wait_back(self, before: Status, pid: int) -> None:
        """Wait until another vision than the one with this id works for the control of before."""
        self.wait(lambda: self.pid(VISION) not in (0, pid), "another vision")
        self.wait_inferring()
        after = self.wait_inferring()  # twice: what the old one sent last may still have been counted
        assert after.pid == before.pid, "control was not started again"
        assert after.frames_inferred > before.frames_inferred, "its counters live on"
