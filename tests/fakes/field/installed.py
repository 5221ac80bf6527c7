"""A device with edgeapp on it as it is installed: units, users, folders, program, configuration, credentials, broker.

Owns what stands where. The program is this checkout's package in an environment that the service's users can reach;
for the deployment scripts there is `bare_device.py`. Source and model are small real ones. The broker is a real
mosquitto in the device's network namespace, with a user and a password; from outside it is reached over a Unix socket.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from tests.fakes.field.networked import CONTROL, PASSWORD, SOCKET, VISION, NetworkedDevice
from tests.fakes.field.nspawn import DeviceTrouble, why_not
from tests.fakes.field.trees import Tree, own_tree

ROOT = Path(__file__).parents[3]
_OPT = Path("opt/edgeapp")
_UNITS = Path("etc/systemd/system")
_NOT_PROBED = ("Restart", "RestartSec", "RestartPreventExitStatus", "WatchdogSec", "ExecReload", "Requires")


def why_not_installed(work: Path) -> str:
    """Why there can be no installed device here; empty where there can."""
    python = own_tree().python
    if not python.exists():
        return f"the device runs Debian's Python, and the packages here are for another: expected {python}"
    return why_not(work)


def forget_the_machines_own(root: Path) -> None:
    """An edgeapp that is installed on this machine is none of the device's with this tree."""
    for place in (_OPT, Path("etc/edgeapp"), Path("var/lib/edgeapp")):
        shutil.rmtree(root / place, ignore_errors=True)
    for folder in (_UNITS, Path("etc/sysusers.d"), Path("etc/tmpfiles.d"), Path("usr/local/bin")):
        for found in (root / folder).glob("edgeapp*"):
            shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()


class InstalledDevice(NetworkedDevice):
    """Boot it after entering the context."""

    def __init__(self, folder: Path, tree: Tree | None = None) -> None:
        """`tree` is the Debian to install on, this machine's own where it is None."""
        self._base = tree or own_tree()
        options = (
            f"--bind-ro={self._base.packages}:/{_OPT}/packages",
            f"--bind-ro={ROOT}/tests:/{_OPT}/testing/tests",
        )
        super().__init__(folder, tree=self._base.root, options=options)

    def prepare(self) -> None:
        forget_the_machines_own(self.root)
        self._install_program()
        self._install_units()
        self._configure()

    def drop_in(self, unit: str, name: str, *lines: str) -> None:
        """Change a unit's [Service] section, until it is taken away with no lines."""
        path = self.root / _UNITS / f"{unit}.d" / f"{name}.conf"
        path.parent.mkdir(exist_ok=True)
        if lines:
            path.write_text("\n".join(("[Service]", *lines)) + "\n")
        else:
            path.unlink()

    def control_lines(self, module: str) -> tuple[str, ...]:
        """The lines that have control's unit run another module in place of edgeapp.cli."""
        command = f"/{_OPT}/current/bin/python -m {module} run --vision-apart --config /etc/edgeapp/config.yaml"
        return (f"Environment=PYTHONPATH=/{_OPT}/testing", "ExecStart=", f"ExecStart={command}")

    def hanging_vision_lines(self) -> tuple[str, ...]:
        """The lines that have vision's unit run a vision that hangs when it is told so."""
        command = f"/{_OPT}/current/bin/python -m tests.fakes.field.hanging_vision --listen /run/edgeapp/vision.sock"
        return (f"Environment=PYTHONPATH=/{_OPT}/testing", "ExecStart=", f"ExecStart={command}")

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
        command = f"/{_OPT}/current/bin/python -m tests.fakes.field.{module} {' '.join(arguments)}"
        replaced = {
            "ExecStart": f"ExecStart={command}\nEnvironment=PYTHONPATH=/{_OPT}/testing",
            "Type": "Type=oneshot\nStandardOutput=truncate:/tmp/probe.json",
        }
        name, lines = f"probe-{unit}", []
        for line in (self.root / _UNITS / unit).read_text().splitlines():
            key = line.partition("=")[0]
            if key not in _NOT_PROBED:
                lines.append(replaced.get(key, line))
        (self.root / _UNITS / name).write_text("\n".join([*lines, drop_in]))
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "start", name, timeout_s=120)
        found: dict[str, Any] = json.loads((self.inside / "tmp/probe.json").read_text())
        return found

    def write_config(self, **sections: dict[str, Any]) -> None:
        """Write the configuration, with these sections merged in."""
        config = copy.deepcopy(self.config)
        for name, section in sections.items():
            config.setdefault(name, {}).update(section)
        (self.root / "etc/edgeapp/config.yaml").write_text(yaml.safe_dump(config))

    def _install_program(self) -> None:
        version = self.root / _OPT / "versions" / "test"
        site = version / "lib" / self._base.python.name / "site-packages"
        site.mkdir(parents=True)
        (version / "bin").mkdir()
        (version / "bin" / "python").symlink_to(self._base.python)
        (version / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
        shutil.copytree(ROOT / "edgeapp", site / "edgeapp", ignore=shutil.ignore_patterns("__pycache__"))
        (site / "packages.pth").write_text(f"/{_OPT}/packages\n")
        script = version / "bin" / "edgeapp"
        start = "import sys\nfrom edgeapp.cli import main\nsys.exit(main())\n"
        script.write_text(f"#!/{_OPT}/current/bin/python\n{start}")
        script.chmod(0o755)
        (self.root / _OPT / "current").symlink_to("versions/test")

    def _install_units(self) -> None:
        for unit in (CONTROL, VISION, SOCKET):
            shutil.copy(ROOT / "systemd" / unit, self.root / _UNITS)
        for kind in ("sysusers.d", "tmpfiles.d"):
            target = self.root / "etc" / kind
            target.mkdir(exist_ok=True)
            shutil.copy(ROOT / "systemd" / kind / "edgeapp.conf", target)
        make_users = ["systemd-sysusers", f"--root={self.root}", "edgeapp.conf"]
        subprocess.run(make_users, check=True, capture_output=True, text=True)
        subprocess.run(["systemctl", "--quiet", f"--root={self.root}", "enable", CONTROL, VISION, SOCKET], check=True)

    def _configure(self) -> None:
        etc, state = self.root / "etc/edgeapp", self.root / "var/lib/edgeapp"
        (etc / "credentials").mkdir(parents=True)
        (etc / "credentials").chmod(0o700)
        (etc / "credentials/mqtt-password").write_text(PASSWORD + "\n")
        (etc / "credentials/mqtt-password").chmod(0o600)
        shutil.copy(self.made.folder / "1.root.json", etc / "root.json")
        shutil.copytree(self.made.folder / "model", state / "models/bright-spot")
        shutil.copy(self.made.folder / "video.avi", self.root / "srv/video.avi")
        self.config: dict[str, dict[str, Any]] = {
            "device": {"id": "test-device"},
            "camera": {"kind": "video", "source": "/srv/video.avi"},
            "inference": {"model_dir": "/var/lib/edgeapp/models/bright-spot", "max_fps": 20.0},
            "telemetry": {"window_s": 5},
            "mqtt": {
                "host": "127.0.0.1",
                "port": self.broker.port,
                "username": "edgeapp",
                "password_file": "/etc/edgeapp/credentials/mqtt-password",
                "reconnect_max_s": 1.0,
            },
            "vision": {"socket": "/run/edgeapp/vision.sock"},
            "updates": {
                "enabled": True,
                "root_file": "/etc/edgeapp/root.json",
                "folder": "/srv/stick",
                "jitter_s": 0.0,
            },
        }
        self.write_config()
