"""How an emulated machine comes through its reset button, and how it switches itself off."""

from __future__ import annotations

import json

from tests.fakes.device import telemetry
from tests.fakes.field.emulated_device import EmulatedDevice
from tests.fakes.field.reached import CONTROL, VISION
from tests.fakes.field.reports import expect_no_gap

_WAITING = 3
_STOP_LIMIT_S = {CONTROL: 15.0, VISION: 5.0}  # TimeoutStopSec= of the units


def reset(device: EmulatedDevice) -> str:
    """The broker is away and reports wait; then the button, of which no program and no file system is told.

    The broker is back, and its reader too, before the device is: no report passes unseen.
    """
    with device.subscriber() as subscriber:
        before = device.wait_inferring()
        subscriber.wait(lambda got: bool(telemetry(got)), "a report", 30 * device.patience)
        device.broker.kill()
        waits = device.wait_status(lambda now: now.broker.waiting >= _WAITING, "reports to wait", 60).broker.waiting
        sent = {report["seq"] for report in telemetry(subscriber.messages)}
        device.machine.reset()
        device.broker.start()
        subscriber.wait_subscribed(2)
        boot_s = device.wait_booted()
        device.load_camera()
        after = device.wait_inferring()
        assert after.started_s != before.started_s, "another control"
        until = max(sent) + waits + 2  # what waited, and one more of this boot
        messages = subscriber.wait(
            lambda got: max(report["seq"] for report in telemetry(got)) >= until, "a later report", 60 * device.patience
        )
    count = expect_no_gap(messages)
    assert after.broker.lost == 0, after.broker
    return f"{waits} reports waited; edgeapp after {boot_s:.0f} s, {count} reports without a gap"


def power_off(device: EmulatedDevice) -> str:
    """The open window's report is out before the end, both services end in their time, the disk is left in order."""
    with device.subscriber() as subscriber:
        before = device.wait_inferring()
        count = len(telemetry(subscriber.messages))
        took_s = device.machine.power_off(60 * device.patience)
        subscriber.wait(lambda got: len(telemetry(got)) > count, "the last report")
    found = []
    for unit, limit_s in _STOP_LIMIT_S.items():
        records = [json.loads(line) for line in device.journal_on_disk(f"UNIT={unit}", "--output=json").splitlines()]
        ends = [record for record in records if record["MESSAGE"] == f"{unit}: Deactivated successfully."]
        begins = [record for record in records if record["MESSAGE"].startswith(f"Stopping {unit} ")]
        assert ends, [record["MESSAGE"] for record in records][-10:]
        needed_s = (int(ends[-1]["__MONOTONIC_TIMESTAMP"]) - int(begins[-1]["__MONOTONIC_TIMESTAMP"])) / 1e6
        assert 0 <= needed_s < limit_s, f"{unit}: ended after {needed_s} s"
        found.append(f"{unit} after {needed_s:.1f} s")
    assert device.is_disk_clean(), "the file system was let go of in order"
    assert before.broker.lost == 0, before.broker
    return f"off after {took_s:.0f} s, {', '.join(found)} of its own time; the disk is clean"
