"""edgeapp in a device's tree as it is installed: program, units, users, folders, credentials, model, configuration.

Owns what stands where, as functions on a tree that is mounted here; which kind of device it becomes is not known here.
"""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.fakes.field.reached import CONTROL, SOCKET, VISION
from tests.fakes.field.trees import Tree
from tests.fakes.updating_device import UpdatingDevice

ROOT = Path(__file__).parents[3]
OPT = Path("opt/edgeapp")
UNITS = Path("etc/systemd/system")
CONFIG = Path("etc/edgeapp/config.yaml")
PROBED = "/tmp/probe.json"
_NOT_PROBED = ("Restart", "RestartSec", "RestartPreventExitStatus", "WatchdogSec", "ExecReload", "Requires")
Configuration = dict[str, dict[str, Any]]


def forget_the_machines_own(root: Path) -> None:
    """An edgeapp that is installed on this machine is none of the device's with this tree."""
    for place in (OPT, Path("etc/edgeapp"), Path("var/lib/edgeapp")):
        shutil.rmtree(root / place, ignore_errors=True)
    for folder in (UNITS, Path("etc/sysusers.d"), Path("etc/tmpfiles.d"), Path("usr/local/bin")):
        for found in (root / folder).glob("edgeapp*"):
            shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()


def install_program(root: Path, base: Tree) -> None:
    """This checkout's package; what it depends on is looked for in /opt/edgeapp/packages, the tests' in testing."""
    version = root / OPT / "versions" / "test"
    site = version / "lib" / base.python.name / "site-packages"
    site.mkdir(parents=True)
    (version / "bin").mkdir()
    (version / "bin" / "python").symlink_to(base.python)
    (version / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    shutil.copytree(ROOT / "edgeapp", site / "edgeapp", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "packages.pth").write_text(f"/{OPT}/packages\n")
    script = version / "bin" / "edgeapp"
    start = "import sys\nfrom edgeapp.cli import main\nsys.exit(main())\n"
    script.write_text(f"#!/{OPT}/current/bin/python\n{start}")
    script.chmod(0o755)
    (root / OPT / "current").symlink_to("versions/test")


def install_units(root: Path) -> None:
    """The shipped units, enabled, and their users."""
    for unit in (CONTROL, VISION, SOCKET):
        shutil.copy(ROOT / "systemd" / unit, root / UNITS)
    for kind in ("sysusers.d", "tmpfiles.d"):
        target = root / "etc" / kind
        target.mkdir(exist_ok=True)
        shutil.copy(ROOT / "systemd" / kind / "edgeapp.conf", target)
    make_users = ["systemd-sysusers", f"--root={root}", "edgeapp.conf"]
    subprocess.run(make_users, check=True, capture_output=True, text=True)
    subprocess.run(["systemctl", "--quiet", f"--root={root}", "enable", CONTROL, VISION, SOCKET], check=True)


def bring_possessions(root: Path, made: UpdatingDevice, password: str) -> None:
    """The broker's password, the first root of trust, and the factory model."""
    etc, state = root / CONFIG.parent, root / "var/lib/edgeapp"
    (etc / "credentials").mkdir(parents=True)
    (etc / "credentials").chmod(0o700)
    (etc / "credentials/mqtt-password").write_text(password + "\n")
    (etc / "credentials/mqtt-password").chmod(0o600)
    shutil.copy(made.folder / "1.root.json", etc / "root.json")
    shutil.copytree(made.folder / "model", state / "models/bright-spot")


def configuration(camera: dict[str, Any], broker_host: str, broker_port: int) -> Configuration:
    """What such a device is configured to, section by section."""
    return {
        "device": {"id": "test-device"},
        "camera": camera,
        "inference": {"model_dir": "/var/lib/edgeapp/models/bright-spot", "max_fps": 20.0},
        "telemetry": {"window_s": 5},
        "mqtt": {
            "host": broker_host,
            "port": broker_port,
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


def merged(config: Configuration, sections: Configuration) -> str:
    """The text of config.yaml, with these sections merged in key by key."""
    config = copy.deepcopy(config)
    for name, section in sections.items():
        config.setdefault(name, {}).update(section)
    return yaml.safe_dump(config)


def probe_unit(unit: str, module: str, arguments: Sequence[str], drop_in: str) -> str:
    """The shipped unit with a module of tests.fakes.field in its program's place, which prints JSON into PROBED.

    `drop_in` is the text of a drop-in of the unit.
    """
    command = f"/{OPT}/current/bin/python -m tests.fakes.field.{module} {' '.join(arguments)}"
    replaced = {
        "ExecStart": f"ExecStart={command}\nEnvironment=PYTHONPATH=/{OPT}/testing",
        "Type": f"Type=oneshot\nStandardOutput=truncate:{PROBED}",
    }
    lines = []
    for line in (ROOT / "systemd" / unit).read_text().splitlines():
        key = line.partition("=")[0]
        if key not in _NOT_PROBED:
            lines.append(replaced.get(key, line))
    return "\n".join([*lines, drop_in])


def control_lines(module: str) -> tuple[str, ...]:
    """The lines that have control's unit run another module in place of edgeapp.cli."""
    command = f"/{OPT}/current/bin/python -m {module} run --config /{CONFIG}"
    return (f"Environment=PYTHONPATH=/{OPT}/testing", "ExecStart=", f"ExecStart={command}")


def hanging_vision_lines() -> tuple[str, ...]:
    """The lines that have vision's unit run a vision that hangs, or eats memory, when it is told so."""
    command = f"/{OPT}/current/bin/python -m tests.fakes.field.hanging_vision --listen /run/edgeapp/vision.sock"
    return (f"Environment=PYTHONPATH=/{OPT}/testing", "ExecStart=", f"ExecStart={command}")
