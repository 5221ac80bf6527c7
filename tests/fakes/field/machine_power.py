"""How an emulated machine comes through its reset button, and how it switches itself off."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing

from edgeapp.telemetry.spool import SPOOL_NAME
from tests.fakes.device import telemetry
from tests.fakes.field.emulated_device import EmulatedDevice
from tests.fakes.field.reached import CONTROL, VISION
from tests.fakes.field.reports import expect_no_gap, numbers
from tests.fakes.subscriber import Received

_WAITING = 3
_STOP_LIMIT_S = {CONTROL: 15.0, VISION: 5.0}  # TimeoutStopSec= of the units


def reset(device: EmulatedDevice) -> str:
    """The broker is away and reports wait; then the button, of which no program and no file system is told.

    The broker is back, and its reader too, before the device is: no report passes unseen.
    """
    with device.subscriber() as subscriber:
        device.wait_inferring()
        subscriber.wait(lambda got: bool(telemetry(got)), "a report", 30 * device.patience)
        device.broker.kill()
        sent = telemetry(subscriber.messages)
        waits = device.wait_status(lambda now: now.broker.waiting >= _WAITING, "reports to wait", 60).broker.waiting
        # The last one sent may be among those that wait: its acknowledgement was still on its way.
        boot, last = sent[-1]["boot"], sent[-1]["seq"] + waits - 1
        device.machine.reset()
        device.broker.start()
        subscriber.wait_subscribed(2)
        boot_s = device.wait_booted()
        device.load_camera()
        after = device.wait_inferring()
        messages = subscriber.wait(
            lambda got: telemetry(got)[-1]["boot"] != boot, "a report of the new boot", 60 * device.patience
        )
    missing = set(range(sent[0]["seq"], last + 1)) - numbers(messages, boot)
    assert not missing, f"reports {sorted(missing)} of those before the reset are missing"
    count = expect_no_gap(messages)
    assert after.broker.lost == 0, after.broker
    return f"{waits} reports waited; edgeapp after {boot_s:.0f} s, {count} reports without a gap"


def power_off(device: EmulatedDevice) -> str:
    """What is there after an orderly end is read from the disk of the machine that is off."""
    with device.subscriber() as subscriber:
        device.wait_inferring()
        subscriber.wait(lambda got: bool(telemetry(got)), "a report", 30 * device.patience)
        took_s = device.machine.power_off(60 * device.patience)
        messages = subscriber.wait(lambda got: _last_state(got) == "offline", "the goodbye")
    waits = _expect_last_window(device, messages)
    ends = ", ".join(f"{unit} after {_ended_s(device, unit):.1f} s" for unit in _STOP_LIMIT_S)
    assert device.is_disk_clean(), "the file system was let go of in order"
    return f"off after {took_s:.0f} s, {ends} of its own time; {waits} reports wait on the disk, which is clean"


def _last_state(messages: list[Received]) -> str:
    states = [one.fields["state"] for one in messages if one.topic.endswith("/status")]
    return states[-1] if states else ""


def _expect_last_window(device: EmulatedDevice, messages: list[Received]) -> int:
    """The window that was open at the end was sent or waits, and so does each report before it; how many wait."""
    with closing(sqlite3.connect(device.copy_from_disk("/var/lib/edgeapp") / SPOOL_NAME)) as spool:
        waiting = spool.execute("SELECT seq, kind, payload FROM report").fetchall()
        (last,) = spool.execute("SELECT seq FROM sqlite_sequence WHERE name = 'report'").fetchone()
    seen = numbers(messages)
    missing = set(range(min(seen), last + 1)) - seen - {seq for seq, _, _ in waiting}
    assert not missing, f"reports {sorted(missing)} of {min(seen)} to {last} are missing"
    reports = [*telemetry(messages), *(json.loads(payload) for _, kind, payload in waiting if kind == "telemetry")]
    ended = max(reports, key=lambda report: int(report["seq"]))
    assert not ended["win"]["complete"], f"expected the window that was open at the end, found {ended['win']}"
    return len(waiting)


def _ended_s(device: EmulatedDevice, unit: str) -> float:
    """How long a unit took to end in the last boot, as the journal tells; fails where it was ended by force or late."""
    folder = device.copy_from_disk("/var/log/journal")
    command = ["journalctl", "--no-pager", "--quiet", "--output=json", f"--directory={folder}", f"UNIT={unit}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    records = [json.loads(line) for line in said.splitlines()]
    records = [one for one in records if one["_BOOT_ID"] == records[-1]["_BOOT_ID"]]
    told = {one["MESSAGE"]: int(one["__MONOTONIC_TIMESTAMP"]) / 1e6 for one in records}
    begins = [at_s for message, at_s in told.items() if message.startswith(f"Stopping {unit} ")]
    ended_s = told.get(f"{unit}: Deactivated successfully.")
    assert begins, list(told)[-10:]
    assert ended_s is not None, list(told)[-10:]
    assert 0 <= ended_s - begins[-1] < _STOP_LIMIT_S[unit], f"{unit}: ended after {ended_s - begins[-1]} s"
    return ended_s - begins[-1]
