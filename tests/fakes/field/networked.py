"""A device with loopback as its only network, a real broker there that wants a password, and what its daemon says."""

from __future__ import annotations

import os
import subprocess
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.status import Status
from tests.fakes.broker import Broker
from tests.fakes.field.nspawn import DeviceTrouble, NspawnDevice
from tests.fakes.subscriber import Subscriber
from tests.fakes.updating_device import UpdatingDevice

PASSWORD = "correct-horse-battery-staple"
CONTROL, VISION, SOCKET = "edgeapp.service", "edgeapp-vision.service", "edgeapp-vision.socket"


class NetworkedDevice(NspawnDevice):
    """What is in its tree before the boot, `prepare` brings; `made` are a small model, a video and releases for it."""

    def __init__(
        self,
        folder: Path,
        *,
        tree: Path = Path("/"),
        options: Sequence[str] = (),
        broker_options: Sequence[str] = (),
    ) -> None:
        """As that of NspawnDevice; `broker_options` as those of Broker."""
        self.namespace = f"edgeapp-{os.getpid()}-{folder.name}"
        own = (
            f"--network-namespace-path=/run/netns/{self.namespace}",
            # What a real board's systemd and services may: ask whether the clock is kept right, limit addresses by BPF.
            "--system-call-filter=adjtimex clock_adjtime bpf",
            "--capability=CAP_BPF,CAP_NET_ADMIN",
        )
        super().__init__(folder, tree=tree, options=[*own, *options])
        self.made = UpdatingDevice(folder / "made", port=0)
        self.broker = Broker(
            folder / "broker",
            users={"edgeapp": PASSWORD},
            namespace=(self.namespace, "127.0.0.1"),
            options=broker_options,
        )

    def __enter__(self) -> Self:
        try:
            subprocess.run(["ip", "netns", "add", self.namespace], check=True)
            self._stack.callback(subprocess.run, ["ip", "netns", "del", self.namespace], check=False)
            subprocess.run(["ip", "-n", self.namespace, "link", "set", "lo", "up"], check=True)
            super().__enter__()
            self._stack.enter_context(self.broker)
            self.prepare()
        except BaseException:
            self._stack.close()
            raise
        return self

    @abstractmethod
    def prepare(self) -> None:
        """Bring everything into `root`."""

    @property
    def inside(self) -> Path:
        """The device's tree as its processes see it, with what is mounted there."""
        return Path(f"/proc/{self.leader}/root")

    def status(self) -> Status | None:
        """The daemon's status file."""
        try:
            return read_json(Status, (self.inside / "run/edgeapp/status.json").read_bytes(), "status")
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
            log = self.journal("--lines=30", "--unit", CONTROL, "--unit", VISION)
            raise DeviceTrouble(f"{trouble}; status: {self.status()}\n{log}") from None
        return found[0]

    def wait_inferring(self, timeout_s: float = 30.0) -> Status:
        """Wait until frames are inferred, from now on."""
        before = self.status()
        count = before.frames_inferred if before is not None and before.pid == self.pid(CONTROL) else 0
        return self.wait_status(lambda now: now.frames_inferred > count, "inference", timeout_s)

    def subscriber(self) -> Subscriber:
        """A reader of all that the device says; use it as a context."""
        return Subscriber(self.broker.unix_socket, "edgeapp/v1/#", login=("edgeapp", PASSWORD))
