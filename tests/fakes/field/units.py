"""What the units promise of themselves, and what the kernel then really lets their processes do."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.device import telemetry
from tests.fakes.field.changeable import CAMERA, ChangeableDevice
from tests.fakes.field.installation import ROOT
from tests.fakes.field.reached import CONTROL, SOCKET, VISION
from tests.fakes.field.steps import DidNotRunError

MAX_EXPOSURE = 1.5
NO_BPF = "IPAddressDeny= needs control groups v2 and BPF, which the device's systemd has not here"
_STATE = ("/var/lib/edgeapp", "/run/edgeapp", "/tmp", "/var/tmp")
_ELSEWHERE = "192.0.2.1"  # RFC 5737: nobody's
_DEVICES = {"full", "null", "ptmx", "random", "tty", "urandom", "zero"}


def verify(device: ChangeableDevice) -> str:
    paths = " ".join(f"/etc/systemd/system/{unit}" for unit in (CONTROL, VISION, SOCKET))
    said = device.run("sh", "-c", f"systemd-analyze verify {paths} 2>&1", check=False)
    assert said == "", said
    return device.run("systemctl", "--version").splitlines()[0]


def exposure(device: ChangeableDevice) -> str:
    found = {unit: _exposure(device, unit) for unit in (CONTROL, VISION)}
    assert all(value <= MAX_EXPOSURE for value in found.values()), found
    return ", ".join(f"{unit} {value}" for unit, value in found.items())


def _exposure(device: ChangeableDevice, unit: str) -> float:
    said = device.run("systemd-analyze", "security", "--offline=true", "--no-pager", f"/etc/systemd/system/{unit}")
    number = re.search(r"exposure level for .*: ([0-9.]+)", said)
    assert number, said
    return float(number[1])


def limits(device: ChangeableDevice) -> str:
    memory = {}
    for unit in (CONTROL, VISION):
        asked = {name: device.ask(unit, name) for name in ("Restart", "StartLimitIntervalUSec", "MemoryMax")}
        assert asked["Restart"] == "always", asked
        assert asked["StartLimitIntervalUSec"] == "0", asked
        assert asked["MemoryMax"].isdecimal(), asked
        memory[unit] = int(asked["MemoryMax"]) >> 20
    assert device.ask(CONTROL, "RestartPreventExitStatus") == "78"
    assert device.ask(SOCKET, "TriggerLimitIntervalUSec") == "0"
    return ", ".join(f"{unit} {value} MiB" for unit, value in memory.items())


def works(device: ChangeableDevice) -> str:
    with device.subscriber() as subscriber:
        status = device.wait_inferring()
        messages = subscriber.wait(lambda got: len(telemetry(got)) >= 2, "two reports", 30)
    pids = {unit: str(device.pid(unit)) for unit in (CONTROL, VISION)}
    users = {unit: device.run("ps", "-o", "user:20=", "-p", pid).strip() for unit, pid in pids.items()}
    assert users == {CONTROL: "edgeapp", VISION: "edgeapp-vision"}, users
    assert status.model is not None
    report = telemetry(messages)[-1]
    assert report["inf"]["n"] > 0, report
    assert report["sys"]["rss_mb"] > 60, "both processes tell their memory"
    return f"{status.model.name} {status.model.version}, {report['inf']['n']} frames in the last report"


def vision_sandbox(device: ChangeableDevice) -> str:
    found = probe(device, VISION)
    sockets = {name for name, outcome in found["sockets"].items() if outcome == "ok"}
    assert sockets == {"AF_UNIX"}, found["sockets"]
    assert found["interfaces"] == ["lo"], found["interfaces"]
    assert found["connect"] != "ok"
    assert found["bus"] == "ENOENT", "the system's bus is out of sight"
    assert found["camera"] in device.opened_camera, found["camera"]
    assert found["writable"] == [], found["writable"]
    assert found["state"] == "ok"
    _expect_no_privileges(found)
    return "AF_UNIX alone, an empty network, no place to write"


def control_sandbox(device: ChangeableDevice) -> str:
    found = probe(device, CONTROL)
    sockets = {name for name, outcome in found["sockets"].items() if outcome == "ok"}
    assert sockets == {"AF_UNIX", "AF_INET", "AF_INET6"}, found["sockets"]
    assert found["camera"] == "ENOENT", found["camera"]
    names = {path.rpartition("/")[2] for path in found["devices"] if not path.startswith(("/dev/char/", "/dev/std"))}
    assert names <= _DEVICES, names
    strangers = [path for path in found["writable"] if not path.startswith(_STATE)]
    assert "/var/lib/edgeapp" in found["writable"], "the search finds what is there"
    assert not strangers, strangers
    assert found["clock_is_told"], "whether the clock is kept right can be asked"
    _expect_no_privileges(found)
    return f"{len(names)} devices, none a camera; writes state, runtime folder and a /tmp of its own"


def self_test_sandbox(device: ChangeableDevice) -> str:
    found = device.probe(CONTROL, "selftest_probe", "/var/lib/edgeapp/models/bright-spot")
    assert found["code"] == "", found
    assert found["has_network"] is False, found
    return f"passed, {found['invokes']} invokes, no socket to be had"


def network_camera(device: ChangeableDevice) -> str:
    outcome = connect_elsewhere(device)
    if outcome == "ok":
        raise DidNotRunError(NO_BPF)
    return f"its own address answers, another one does not: {outcome}"


def connect_elsewhere(device: ChangeableDevice) -> str:
    """With the drop-in for a network camera vision reaches the camera's address; what comes of another address."""
    there, elsewhere = (
        probe(device, VISION, drop_in=rtsp_drop_in(address)) for address in (device.broker_host, _ELSEWHERE)
    )
    sockets = {name for name, outcome in there["sockets"].items() if outcome == "ok"}
    assert sockets == {"AF_UNIX", "AF_INET", "AF_INET6"}, there["sockets"]
    assert there["connect"] == "ok", there["connect"]
    assert there["writable"] == [], there["writable"]
    return str(elsewhere["connect"])


def rtsp_drop_in(address: str) -> str:
    return (ROOT / "systemd/edgeapp-vision-rtsp.conf").read_text().replace("@ADDRESS@", address)


def probe(device: ChangeableDevice, unit: str, *more: str, drop_in: str = "") -> dict[str, Any]:
    """What the kernel lets this unit's processes do; `more` are further devices to open. See `sandbox_probe`."""
    device.place_camera()
    broker = (device.broker_host, str(device.broker.port))
    return device.probe(unit, "sandbox_probe", CAMERA, *broker, *more, drop_in=drop_in)


def _expect_no_privileges(found: dict[str, Any]) -> None:
    assert found["uid"] != 0
    assert found["credentials"] in ("EACCES", "ENOENT"), found["credentials"]
    assert set(found["capabilities"]) == {"0"}, found["capabilities"]
    assert (found["no_new_privileges"], found["seccomp"]) == ("1", "2"), found
    for name in ("user_namespace", "net_namespace", "mount_namespace", "executable_memory"):
        assert found[name] in ("EPERM", "EACCES"), f"{name}: {found[name]}"  # a filter's answer, or the kernel's own
