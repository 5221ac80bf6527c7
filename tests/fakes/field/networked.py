"""A device with loopback as its only network, and a real broker there that wants a password."""

from __future__ import annotations

import os
import subprocess
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.fakes.broker import Broker
from tests.fakes.field.nspawn import NspawnDevice
from tests.fakes.field.reached import STATUS_FILE, EdgeappDevice
from tests.fakes.subscriber import Subscriber
from tests.fakes.updating_device import UpdatingDevice

PASSWORD = "correct-horse-battery-staple"


class NetworkedDevice(NspawnDevice, EdgeappDevice):
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

    def status_file(self) -> bytes:
        return (self.inside / STATUS_FILE[1:]).read_bytes()

    def subscriber(self) -> Subscriber:
        """A reader of all that the device says; use it as a context."""
        return Subscriber(self.broker.address, "edgeapp/v1/#", login=("edgeapp", PASSWORD))
