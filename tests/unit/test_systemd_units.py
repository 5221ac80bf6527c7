"""The shipped units are what systemd takes without a word, and keep what they promise on paper.

What the kernel makes of them is tried by scripts/device-test.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from edgeapp.supervisor import EXIT_CONFIG
from edgeapp.system import credentials

ROOT = Path(__file__).parents[2]
UNITS = ("edgeapp.service", "edgeapp-vision.service", "edgeapp-vision.socket")
SERVICES = UNITS[:2]
MAX_EXPOSURE = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units, with programs that exist on this machine."""
    for name in UNITS:
        text = (ROOT / "systemd" / name).read_text()
        (tmp_path / name).write_text(re.sub(r"/opt/edgeapp/current/bin/\w+", "/bin/true", text))
    return tmp_path


def section(name: str, part: str = "Service") -> dict[str, str]:
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((ROOT / "systemd" / name).read_text())
    return dict(parser[part])


@needs_systemd
def test_systemd_takes_every_unit_without_a_word(folder: Path) -> None:
    paths = [str(folder / name) for name in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if str(folder) in line or "edgeapp" in line]
    assert said == []


@needs_systemd
def test_a_key_that_systemd_does_not_know_would_be_noticed(folder: Path) -> None:
    path = folder / UNITS[0]
    path.write_text(path.read_text().replace("UMask=", "UMusk="))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert "UMusk" in done.stderr


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_little_exposed(folder: Path, name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_started_again_for_ever(name: str) -> None:
    assert section(name, "Unit")["StartLimitIntervalSec"] == "0"
    assert section(name)["Restart"] == "always"


def test_only_a_wrong_configuration_keeps_control_down() -> None:
    assert section("edgeapp.service")["RestartPreventExitStatus"] == str(EXIT_CONFIG)


def test_vision_has_no_network_and_the_socket_is_for_control_alone() -> None:
    vision, socket = section("edgeapp-vision.service"), section("edgeapp-vision.socket", "Socket")
    assert (vision["PrivateNetwork"], vision["RestrictAddressFamilies"]) == ("yes", "AF_UNIX")
    assert (socket["SocketUser"], socket["SocketMode"]) == (section("edgeapp.service")["User"], "0600")
    assert socket["ListenSequentialPacket"] in vision["ExecStart"]


def test_a_camera_whose_driver_is_loaded_after_the_start_is_allowed() -> None:
    allowed = re.findall(r"^DeviceAllow=(.*)$", (ROOT / "systemd/edgeapp-vision.service").read_text(), re.MULTILINE)
    assert "char-81 rw" in allowed  # by the kernel's number: a name that no driver has registered yet matches nothing


def test_credentials_are_where_the_program_looks_for_them() -> None:
    assert section("edgeapp.service")["LoadCredential"] == f"edgeapp:{credentials.FOLDER}"


def test_folders_that_vision_sees_of_the_state_are_made_before_it_starts() -> None:
    made = (ROOT / "systemd/tmpfiles.d/edgeapp.conf").read_text()
    text = (ROOT / "systemd/edgeapp-vision.service").read_text()
    seen = re.findall(r"/var/lib/edgeapp/\w+", text)
    assert seen
    assert all(re.search(rf"^d {path} ", made, re.MULTILINE) for path in seen)
