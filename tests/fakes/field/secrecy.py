"""What must not be seen from outside: secrets, open ports; and what must: the journal's fields."""

from __future__ import annotations

import json

from edgeapp.system import journal
from tests.fakes.field.changeable import ChangeableDevice
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.reached import CONTROL, VISION

_FILE = "/etc/edgeapp/credentials/mqtt-password"
_COPY = "/run/credentials/edgeapp.service/edgeapp_mqtt-password"
# A connection to a free port may meet itself: the kernel took that port for our end.
_SCAN = """
import errno, json, socket
found = []
for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
    for port in range(1, 65536):
        with socket.socket(family) as one:
            one.settimeout(0.5)
            outcome = one.connect_ex((host, port))
            if outcome == errno.EAGAIN or (outcome == 0 and one.getsockname() != one.getpeername()):
                found.append(port)
print(json.dumps(found))
"""


def credentials(device: ChangeableDevice) -> str:
    device.wait_inferring()
    for user, paths in {
        "nobody": (_FILE, _COPY),
        "edgeapp-vision": (_FILE, _COPY),
        "edgeapp": (_FILE,),  # its own copy it may read
    }.items():
        for path in paths:
            command = f"setpriv --reuid={user} --regid=nogroup --clear-groups cat {path}"
            assert PASSWORD not in device.run("sh", "-c", command, check=False), f"{user} reads {path}"
    assert PASSWORD in device.run("cat", _COPY), "root reads it: the search finds what is there"
    pids = " ".join(str(device.pid(unit)) for unit in (CONTROL, VISION))
    places = {
        "the journal": "journalctl --output=export --no-pager",
        "the status": "cat /run/edgeapp/status.json",
        "edgeapp status": "/opt/edgeapp/current/bin/edgeapp status --json",
        "systemd's properties": f"systemctl show {CONTROL} {VISION}",
        "environment and command line": f"for pid in {pids}; do cat /proc/$pid/environ /proc/$pid/cmdline; done",
        "the state": "find /var/lib/edgeapp /run/edgeapp -type f -exec cat {} +",
    }
    for name, command in places.items():
        said = device.run("sh", "-c", f"({command}) 2>/dev/null | tr '\\0' ' ' | LC_ALL=C grep -a -c . || true")
        assert int(said) > 0, f"{name}: expected something to search in, found nothing"
        hits = device.run("sh", "-c", f"({command}) 2>/dev/null | LC_ALL=C grep -a -c {PASSWORD} || true")
        assert int(hits) == 0, f"the password stands in {name}"
    as_nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups /opt/edgeapp/current/bin/edgeapp status 2>&1"
    said = device.run("sh", "-c", as_nobody, check=False)
    assert said.endswith("sudo edgeapp status\n"), f"a user who may not look is told so in a line, found: {said}"
    return f"looked for in {len(places)} places, and read by three users in vain"


def port_scan(device: ChangeableDevice) -> str:
    device.wait_inferring()
    found = json.loads(device.run("/usr/bin/python3", "-c", _SCAN, timeout_s=300))
    assert found == [device.broker.port], f"expected the broker's port alone, found {found}"
    for table in ("udp", "udp6", "raw", "raw6"):
        lines = device.run("cat", f"/proc/net/{table}").splitlines()[1:]
        assert not lines, f"{table}: {lines}"
    return "65535 TCP ports over IPv4 and IPv6 and all UDP sockets: nothing but the test's broker"


def journal_fields(device: ChangeableDevice) -> str:
    """What a start, a crash of vision and a wrong configuration leave in the journal."""
    before = device.wait_inferring()
    device.run("systemctl", "kill", "--signal=SEGV", VISION)
    device.wait_status(lambda now: now.vision_restarts != before.vision_restarts, "vision to be lost")
    device.write_config(inference={"max_fps": -1})
    device.run("systemctl", "reload", CONTROL)
    device.wait_status(lambda now: now.reload_error, "the refusal")
    device.write_config()
    device.run("systemctl", "reload", CONTROL)
    started = _records(device, f"MESSAGE_ID={journal.STARTED['message_id']}")
    lost = _records(device, f"MESSAGE_ID={journal.VISION_LOST['message_id']}", "EDGEAPP_CODE=E_VISION")
    refused = _records(device, f"MESSAGE_ID={journal.CONFIG_REFUSED['message_id']}", "EDGEAPP_CODE=E_CONFIG")
    for record in (started[0], lost[0], refused[0]):
        assert record["SYSLOG_IDENTIFIER"] == "edgeapp", record
        assert record["CODE_FILE"].endswith(".py"), record
        assert record["_SYSTEMD_UNIT"] == CONTROL, record
    assert lost[0]["PRIORITY"] == "4", lost[0]
    return f"{len(started)} starts, {len(lost)} losses of vision, {len(refused)} refused configurations"


def _records(device: ChangeableDevice, *matches: str) -> list[dict[str, str]]:
    found = [json.loads(line) for line in device.journal("--output=json", *matches).splitlines()]
    assert found, f"nothing in the journal for {matches}"
    return found
