"""From a bare system to a reporting device, in one pass and through interruptions: what the deployment scripts promise.

Everything runs in one booted device whose only network is loopback. The tests interrupt a few times,
scripts/provision-drill many.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.field.bare_device import INSTALL, PROVISION, BareDevice, differences
from tests.fakes.field.reached import CONTROL, DeviceTrouble

BOTH = ("bash", "-c", f"{' '.join(INSTALL)} && {' '.join(PROVISION)}")
_SHEET = "var/lib/edgeapp/acceptance/"
_REPORT_LIMIT_S = 60.0


@dataclass
class Seen:
    """What came of it. Each trouble says which promise was not kept, and how."""

    pass_s: float = 0.0
    reports: int = 0
    interruptions: int = 0
    steps_hit: dict[str, int] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)


def drill(device: BareDevice, interruptions: int, seed: int, said: Callable[[str], None] = lambda _: None) -> Seen:
    """One pass, a second one that changes nothing, a report at the broker, then the interruptions.

    Raises:
        DeviceTrouble: the first pass did not give a reporting device.
    """
    seen = Seen()
    first = device.script(*BOTH)
    seen.pass_s = first.seconds
    if first.status != 0:
        raise DeviceTrouble(f"install and provision: expected status 0, found {first.status}:\n{first.text}")
    said(f"one pass from a bare system took {first.seconds:.0f} s")
    before = device.tree(with_times=True)
    second = device.script(*BOTH)
    changed = differences(before, device.tree(with_times=True))
    if second.status != 0 or changed:
        seen.troubles.append(f"a second run: status {second.status}, changed {list(changed)[:5]}")
    said("a second run ended" + (", and changed nothing" if not changed else f", and CHANGED {list(changed)[:5]}"))
    seen.reports = wait_for_report(device)
    said("a report was delivered")
    expected = _comparable(before)
    chance = random.Random(seed)
    ends_s = (*first.steps_s[1:], first.seconds)
    durations_s = [end - start for start, end in zip(first.steps_s, ends_s, strict=True)]
    for number in range(interruptions):
        step = number % len(durations_s)
        moment = (step, chance.random() * durations_s[step])
        said(f"{number + 1} of {interruptions}: {_interrupt(device, moment, expected, seen)}")
    return seen


def wait_for_report(device: BareDevice) -> int:
    """Have the device report every five seconds, until a report of its own has come; their number.

    Raises:
        DeviceTrouble: none came.
    """
    config = "/etc/edgeapp/config.yaml"
    change = f"edgeapp configure {config} telemetry.window_s=5 >/tmp/config.yaml && cat /tmp/config.yaml >{config}"
    device.run("bash", "-c", f"PYTHONDONTWRITEBYTECODE=1; export PYTHONDONTWRITEBYTECODE; {change}")
    with device.subscriber() as subscriber:
        device.run("systemctl", "restart", CONTROL)

        def found() -> int:
            return sum("/telemetry" in message.topic for message in subscriber.messages)

        device.wait(found, "a report", _REPORT_LIMIT_S)
        return found()


def _interrupt(
    device: BareDevice, moment: tuple[int, float], expected: dict[str, tuple[object, ...]], seen: Seen
) -> str:
    """Begin from a bare system, kill everything at that moment of that step, run it all again, and look."""
    device.take_away()
    killed = device.script(*BOTH, kill_in=moment)
    step = [line for line in killed.text.splitlines() if line.startswith("[")][-1]
    if killed.status >= 0:
        step = "after its end"
    seen.interruptions += 1
    seen.steps_hit[step] = seen.steps_hit.get(step, 0) + 1
    what = f"killed {moment[1]:.2f} s into {step}"
    again = device.script(*BOTH)
    if again.status != 0:
        seen.troubles.append(f"{what}: the second run ended with {again.status}: {again.text[-600:]}")
        return f"{what}: FAIL"
    wrong = differences(expected, _comparable(device.tree(with_times=False)))
    if wrong or not device.is_active():
        seen.troubles.append(f"{what}: expected the tree of an undisturbed run, found others: {list(wrong)[:8]}")
        return f"{what}: FAIL"
    return f"{what}: right after a second run"


def _comparable(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without the times, and without the sheets, whose names and contents have the time in them."""
    return {name: what[:4] for name, what in tree.items() if not name.startswith(_SHEET)}


def sheets(device: BareDevice) -> list[Path]:
    """The acceptance sheets on the device."""
    return sorted((device.root / _SHEET).glob("acceptance-*.txt"))
