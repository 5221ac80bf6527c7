"""A device with edgeapp on it that steps may change: its configuration, its units, what its broker is told.

Owns what is done to such a device; how its files are reached, each kind of device knows.
"""

from __future__ import annotations

import contextlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from tests.fakes.broker import Broker
from tests.fakes.field import installation
from tests.fakes.field.installation import UNITS, Configuration
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.reached import CONTROL, EdgeappDevice
from tests.fakes.subscriber import Subscriber, publish
from tests.fakes.updating_device import UpdatingDevice

CAMERA = "/dev/video0"


class ChangeableDevice(EdgeappDevice):
    """`made` are a small model and releases for it, `config` is what it is configured to before any change.

    `broker_host` is the broker's address as the device sees it, `opened_camera` what opening its camera may come to
    where nothing forbids that.
    """

    broker_host = "127.0.0.1"
    opened_camera: tuple[str, ...]
    broker: Broker
    made: UpdatingDevice
    config: Configuration

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file as the device's own processes see it."""

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Write a file onto its disk, and make its folder where there is none."""

    @abstractmethod
    def remove(self, path: str) -> None:
        """Take a file away from its disk."""

    @abstractmethod
    def place_camera(self) -> None:
        """See to it that CAMERA is there, as udev makes it."""

    @abstractmethod
    def subscriber(self) -> Subscriber:
        """A reader of all that the device says; use it as a context."""

    def publish(self, topic: str, content: bytes) -> None:
        """Say something to the device, retained."""
        publish(self.broker.address, topic, content, login=("edgeapp", PASSWORD))

    def write_config(self, **sections: dict[str, Any]) -> None:
        """Write the configuration, with these sections merged in."""
        self.write(f"/{installation.CONFIG}", installation.merged(self.config, sections).encode())

    def drop_in(self, unit: str, name: str, *lines: str) -> None:
        """Change a unit's [Service] section, until it is taken away with no lines."""
        path = f"/{UNITS}/{unit}.d/{name}.conf"
        if lines:
            self.write(path, "\n".join(("[Service]", *lines, "")).encode())
        else:
            self.remove(path)

    @contextlib.contextmanager
    def changed(self, unit: str, lines: tuple[str, ...]) -> Iterator[None]:
        """With these lines in a unit's [Service] section, and the unit started anew with and then without them."""
        self.drop_in(unit, "test", *lines)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "restart", unit)
        try:
            yield
        finally:
            self.drop_in(unit, "test")
            self.run("systemctl", "daemon-reload")
            self.run("systemctl", "restart", unit)

    def probe(self, unit: str, module: str, *arguments: str, drop_in: str = "") -> dict[str, Any]:
        """What a module of tests.fakes.field prints, as JSON, in this unit's sandbox, in its program's place.

        `drop_in` is the text of a drop-in of this unit.
        """
        name = f"probe-{unit}"
        self.write(f"/{UNITS}/{name}", installation.probe_unit(unit, module, arguments, drop_in).encode())
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "start", name, timeout_s=120)
        found: dict[str, Any] = json.loads(self.read(installation.PROBED))
        return found

    def restart(self) -> None:
        """Start control anew and wait until it infers."""
        self.run("systemctl", "restart", CONTROL)
        self.wait_inferring()
