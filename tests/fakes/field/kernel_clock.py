"""A board whose clock is stale at boot and set later by a time service: the kernel's own clock, on an emulated machine.

On a device in a container, whose clock is this machine's, a file tells the time (`faults.py`).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tests.fakes.device import telemetry
from tests.fakes.field.machine_device import MachineDevice
from tests.fakes.field.reports import UPDATES, counts, wait_committed
from tests.fakes.subscriber import Subscriber

_HOURS, _HOUR_S, _QUARTER_S, _MONTH_S = 3, 3600, 900, 30 * 86_400
_LEAP_SHORT_S = 2


def stale(device: MachineDevice) -> str:
    """The clock began long ago, and goes on so for hours, in leaps of one; at last a time service sets it."""
    began_s = device.wall_s()
    assert began_s + (_HOURS + 1) * _HOUR_S < time.time(), f"expected a stale clock, found {began_s:.0f} s since 1970"
    with device.subscriber() as subscriber:
        device.publish(UPDATES, device.made.message(version=2, exp=int(time.time()) + _MONTH_S))
        subscriber.wait(lambda got: bool(telemetry(got)), "a report", 30 * device.patience)
        device.wait_status(lambda now: now.update is not None and now.update.code == "E_CLOCK", "the command to wait")
        for hours in range(1, _HOURS + 1):
            _leap(device, subscriber, began_s + hours * _HOUR_S, is_synchronised=False)
            status = device.wait_inferring()
            assert status.holds_counts_back, "counts wait for the clock"
            assert status.update is not None
            assert status.update.active == "", "the update waits for the clock"
        assert not counts(subscriber), "no count is released"
        shown = device.said("status")
        assert "none are released until a time service has set the clock" in shown, shown
        # Right at the begin of a quarter of an hour: what was counted before has no part in it. The first one is not
        # released: another ledger may have released it.
        quarter_s = (time.time() // _QUARTER_S + 1) * _QUARTER_S
        _leap(device, subscriber, quarter_s, is_synchronised=True)
        device.wait_status(lambda now: not now.holds_counts_back, "the clock to be believed")
        for end_s in (quarter_s + _QUARTER_S, quarter_s + 2 * _QUARTER_S):
            assert not counts(subscriber), "nothing that was counted under a stale clock is released"
            _leap(device, subscriber, end_s - _LEAP_SHORT_S, is_synchronised=True, until_s=end_s)
        subscriber.wait(lambda _: bool(counts(subscriber)), "counts under a right clock", 30 * device.patience)
        wait_committed(subscriber, 2, 120 * device.patience)  # a command that waits is judged again after a minute
    device.publish(UPDATES, b"")
    released = counts(subscriber)[0].fields["win"]
    assert released["start"] == quarter_s + _QUARTER_S, released
    day = datetime.fromtimestamp(began_s, UTC).date()
    return f"inferred on {day} for {_HOURS} hours; counts and release 2 of the model came once the clock was set"


def _leap(
    device: MachineDevice, subscriber: Subscriber, wall_s: float, *, is_synchronised: bool, until_s: float = 0.0
) -> None:
    """Set the clock, and wait for the report of a window that ends then, or at `until_s` where that is later."""
    device.set_clock(wall_s, is_synchronised=is_synchronised)
    end_s = max(wall_s, until_s)
    subscriber.wait(
        lambda got: telemetry(got)[-1]["win"]["end"] >= end_s, "a report after a leap", 30 * device.patience
    )
