"""From a bare system to a reporting device, in one pass and through interruptions: what the deployment scripts promise.

Everything runs in one booted device whose only network is loopback. The tests interrupt a few times,
scripts/provision-drill many, and there also an upgrade and the removal.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.field.bare_device import INSTALL, PROVISION, UNINSTALL, BareDevice, Ended, Listing, differences
from tests.fakes.field.reached import CONTROL, DeviceTrouble

BOTH = ("bash", "-c", f"{' '.join(INSTALL)} && {' '.join(PROVISION)}")
NEWER = ("/srv/newer/deploy/install.sh",)
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


@dataclass(frozen=True)
class Course:
    """Scripts that are interrupted: `begin` brings the device to where they begin, whatever state it is in."""

    name: str
    command: tuple[str, ...]
    begin: Callable[[], None]


@dataclass(frozen=True)
class Undisturbed:
    """How a course goes when nobody interrupts it: how long each step takes, in s, and what is there at its end."""

    durations_s: tuple[float, ...]
    tree: Listing
    version: str


class Drill:
    """Interrupts courses on one device. `said` is told what happens."""

    def __init__(self, device: BareDevice, seed: int, said: Callable[[str], None] = lambda _: None) -> None:
        self.seen = Seen()
        self._device, self._chance, self._said = device, random.Random(seed), said

    def set_up(self, interruptions: int) -> None:
        """One pass, a second one that changes nothing, a report at the broker, then the interruptions.

        Raises:
            DeviceTrouble: the first pass did not give a reporting device.
        """
        device, seen = self._device, self.seen
        first = self._run(BOTH)
        seen.pass_s = first.seconds
        self._said(f"one pass from a bare system took {first.seconds:.0f} s")
        before = device.tree(with_times=True)
        undisturbed = Undisturbed(_durations_s(first), _comparable(before), device.running_version())
        second = device.script(*BOTH)
        changed = differences(before, device.tree(with_times=True))
        if second.status != 0 or changed:
            seen.troubles.append(f"a second run: status {second.status}, changed {list(changed)[:5]}")
        self._said(f"a second run CHANGED {list(changed)[:5]}" if changed else "a second run changed nothing")
        seen.reports = wait_for_report(device)
        self._said("a report was delivered")
        self._interrupt(Course("set-up", BOTH, device.take_away), undisturbed, interruptions)

    def upgrade(self, interruptions: int) -> None:
        """The bundle `newer` over the one that runs, and back each time with --downgrade.

        Raises:
            DeviceTrouble: a run that nobody interrupted did not do what it should.
        """
        if interruptions == 0:
            return
        self._device.take_away()
        self._run(BOTH)
        old = self._device.tree(with_times=False)
        self._interrupt_also(Course("upgrade", NEWER, lambda: self._downgrade(old)), interruptions)

    def remove(self, interruptions: int) -> None:
        """`uninstall.sh --purge` of a device that was set up. Raises as `upgrade` does."""

        def begin() -> None:
            self._device.take_away()
            self._run(BOTH)

        self._interrupt_also(Course("removal", (*UNINSTALL, "--purge"), begin), interruptions)

    def _downgrade(self, old: Listing) -> None:
        self._run((*INSTALL, "--downgrade"))
        if self._device.running_version() != "0.1.0":
            raise DeviceTrouble(f"after a downgrade: expected 0.1.0 to run, found {self._device.running_version()}")
        self._device.run("bash", "-c", "rm -rf /opt/edgeapp/previous /opt/edgeapp/versions/0.2.0-*")
        wrong = differences(_comparable(old), _comparable(self._device.tree(with_times=False)))
        if wrong:
            raise DeviceTrouble(f"after a downgrade: expected the tree of before, found others: {list(wrong)[:8]}")

    def _run(self, command: tuple[str, ...]) -> Ended:
        ended = self._device.script(*command)
        if ended.status != 0:
            raise DeviceTrouble(f"{' '.join(command)}: expected status 0, found {ended.status}:\n{ended.text}")
        return ended

    def _interrupt_also(self, course: Course, interruptions: int) -> None:
        if interruptions == 0:
            return
        course.begin()
        ended = self._run(course.command)
        tree = _comparable(self._device.tree(with_times=False))
        self._interrupt(course, Undisturbed(_durations_s(ended), tree, self._device.running_version()), interruptions)

    def _interrupt(self, course: Course, undisturbed: Undisturbed, interruptions: int) -> None:
        """As often as that: kill all of it at one moment, the steps in turn, then run it again and compare."""
        steps = len(undisturbed.durations_s)
        for number in range(interruptions):
            step = number % steps
            moment = (step, self._chance.random() * undisturbed.durations_s[step])
            came_of_it = self._kill_and_repeat(course, undisturbed, moment)
            self._said(f"{course.name}, {number + 1} of {interruptions}: {came_of_it}")

    def _kill_and_repeat(self, course: Course, undisturbed: Undisturbed, moment: tuple[int, float]) -> str:
        device, seen = self._device, self.seen
        course.begin()
        killed = device.script(*course.command, kill_in=moment)
        step = [line for line in killed.text.splitlines() if line.startswith("[")][-1]
        if killed.status >= 0:
            step = "after its end"
        seen.interruptions += 1
        seen.steps_hit[f"{course.name} {step}"] = seen.steps_hit.get(f"{course.name} {step}", 0) + 1
        what = f"killed {moment[1]:.2f} s into {step}"
        again = device.script(*course.command)
        if again.status != 0:
            seen.troubles.append(f"{what}: the second run ended with {again.status}: {again.text[-600:]}")
            return f"{what}: FAIL"
        wrong = differences(undisturbed.tree, _comparable(device.tree(with_times=False)))
        version = device.running_version()
        if wrong or version != undisturbed.version:
            expected = f"the tree of an undisturbed run and version {undisturbed.version!r} running"
            seen.troubles.append(f"{what}: expected {expected}, found {version!r} and others: {list(wrong)[:8]}")
            return f"{what}: FAIL"
        return f"{what}: right after a second run"


def wait_for_report(device: BareDevice) -> int:
    """Have the device report every five seconds, until a report of its own has come; their number.

    Raises:
        DeviceTrouble: none came.
    """
    device.configure("telemetry.window_s=5")
    with device.subscriber() as subscriber:
        device.run("systemctl", "restart", CONTROL)

        def found() -> int:
            return sum("/telemetry" in message.topic for message in subscriber.messages)

        device.wait(found, "a report", _REPORT_LIMIT_S)
        return found()


def sheets(device: BareDevice) -> list[Path]:
    """The acceptance sheets on the device."""
    return sorted((device.root / _SHEET).glob("acceptance-*.txt"))


def _durations_s(ended: Ended) -> tuple[float, ...]:
    ends_s = (*ended.steps_s[1:], ended.seconds)
    return tuple(end - start for start, end in zip(ended.steps_s, ends_s, strict=True))


def _comparable(tree: Listing) -> Listing:
    """Without the times, and without the sheets, whose names and contents have the time in them."""
    return {name: what[:4] for name, what in tree.items() if not name.startswith(_SHEET)}
