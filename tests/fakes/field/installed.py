"""A device with edgeapp on it as it is installed: units, users, folders, program, configuration, credentials, broker.

The program is this checkout's package in an environment that the service's users can reach (`installation.py`); for the
deployment scripts there is `bare_device.py`. Source and model are small real ones. The broker is a real
mosquitto in the device's network namespace, with a user and a password; from outside it is reached over a Unix socket.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.fakes.field import installation
from tests.fakes.field.installation import OPT, ROOT, UNITS
from tests.fakes.field.networked import PASSWORD, NetworkedDevice
from tests.fakes.field.nspawn import why_not
from tests.fakes.field.reached import DeviceTrouble
from tests.fakes.field.trees import Tree, own_tree

VIDEO_CAMERA = {"kind": "video", "source": "/srv/video.avi"}


def why_not_installed(work: Path) -> str:
    """Why there can be no installed device here; empty where there can."""
    python = own_tree().python
    if not python.exists():
        return f"the device runs Debian's Python, and the packages here are for another: expected {python}"
    return why_not(work)


class InstalledDevice(NetworkedDevice):
    """Boot it after entering the context."""

    def __init__(self, folder: Path, tree: Tree | None = None) -> None:
        """`tree` is the Debian to install on, this machine's own where it is None."""
        self._base = tree or own_tree()
        options = (
            f"--bind-ro={self._base.packages}:/{OPT}/packages",
            f"--bind-ro={ROOT}/tests:/{OPT}/testing/tests",
        )
        super().__init__(folder, tree=self._base.root, options=options)

    def prepare(self) -> None:
        installation.forget_the_machines_own(self.root)
        installation.install_program(self.root, self._base)
        installation.install_units(self.root)
        installation.bring_possessions(self.root, self.made, PASSWORD)
        shutil.copy(self.made.folder / "video.avi", self.root / "srv/video.avi")
        self.config = installation.configuration(VIDEO_CAMERA, "127.0.0.1", self.broker.port)
        self.write_config()

    def drop_in(self, unit: str, name: str, *lines: str) -> None:
        """Change a unit's [Service] section, until it is taken away with no lines."""
        path = self.root / UNITS / f"{unit}.d" / f"{name}.conf"
        path.parent.mkdir(exist_ok=True)
        if lines:
            path.write_text("\n".join(("[Service]", *lines)) + "\n")
        else:
            path.unlink()

    def publish(self, topic: str, content: bytes) -> None:
        """Say something to the device, retained."""
        client = paho.Client(CallbackAPIVersion.VERSION2, transport="unix")
        client.username_pw_set("edgeapp", PASSWORD)
        client.connect(str(self.broker.unix_socket))
        client.loop_start()
        client.publish(topic, content, qos=1, retain=True).wait_for_publish(30)
        client.disconnect()
        client.loop_stop()

    def host_pid(self, unit: str) -> int:
        """The id of a unit's main process as this machine sees it."""
        pid = self.pid(unit)
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                numbers = re.search(r"^NSpid:\t\d+\t(\d+)$", status.read_text(), re.MULTILINE)
                is_ours = (status.parent / "ns/pid").readlink() == Path(f"/proc/{self.leader}/ns/pid").readlink()
            except OSError:
                continue
            if numbers and int(numbers[1]) == pid and is_ours:
                return int(status.parent.name)
        raise DeviceTrouble(f"{unit}: expected a main process, found none")

    def probe(self, unit: str, module: str, *arguments: str, drop_in: str = "") -> dict[str, Any]:
        """What a module of tests.fakes.field prints, as JSON, in this unit's sandbox, in its program's place.

        `drop_in` is the text of a drop-in of this unit.
        """
        name = f"probe-{unit}"
        (self.root / UNITS / name).write_text(installation.probe_unit(unit, module, arguments, drop_in))
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "start", name, timeout_s=120)
        found: dict[str, Any] = json.loads((self.inside / installation.PROBED[1:]).read_text())
        return found

    def write_config(self, **sections: dict[str, Any]) -> None:
        """Write the configuration, with these sections merged in."""
        text = installation.merged(self.config, sections)
        (self.root / installation.CONFIG).write_text(text)
