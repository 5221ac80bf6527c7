"""A device with edgeapp on it as it is installed: units, users, folders, program, configuration, credentials, broker.

The program is this checkout's package in an environment that the service's users can reach (`installation.py`); for the
deployment scripts there is `bare_device.py`. Source and model are small real ones. The broker is a real
mosquitto in the device's network namespace, with a user and a password; from outside it is reached over a Unix socket.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from tests.fakes.field import installation
from tests.fakes.field.changeable import CAMERA, ChangeableDevice
from tests.fakes.field.installation import OPT, ROOT
from tests.fakes.field.networked import PASSWORD, NetworkedDevice
from tests.fakes.field.nspawn import why_not
from tests.fakes.field.reached import DeviceTrouble
from tests.fakes.field.trees import Tree, own_tree

VIDEO_CAMERA = {"kind": "video", "source": "/srv/video.avi"}
_CAMERA_NUMBER = os.makedev(81, 0)


def why_not_installed(work: Path) -> str:
    """Why there can be no installed device here; empty where there can."""
    python = own_tree().python
    if not python.exists():
        return f"the device runs Debian's Python, and the packages here are for another: expected {python}"
    return why_not(work)


class InstalledDevice(NetworkedDevice, ChangeableDevice):
    """Boot it after entering the context."""

    opened_camera = ("ENXIO", "ENODEV")  # there is no driver behind the file

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

    def read(self, path: str) -> bytes:
        return (self.inside / path[1:]).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        file = self.root / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def remove(self, path: str) -> None:
        (self.root / path[1:]).unlink()

    def place_camera(self) -> None:
        camera = self.inside / CAMERA[1:]
        with contextlib.suppress(FileExistsError):
            os.mknod(camera, 0o020660, _CAMERA_NUMBER)
        camera.chmod(0o660)
        os.chown(camera, 0, int(self.run("getent", "group", "video").split(":")[2]))

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
