"""Does to a real daemon what the plan says, in true time, and writes down what became of it.

Real are both processes, the model, the broker, the disk with its power cuts, the operator's tool and all signatures;
replaced are the clock, the camera's pictures and the board's sensors (`interfaces.py`).
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeapp.errors import SpoolError
from edgeapp.status import Status
from tests.fakes.broker import Broker
from tests.fakes.device import descriptors, threads
from tests.fakes.gate import Gate
from tests.fakes.subscriber import Received, Subscriber
from tests.fakes.updating_device import UpdatingDevice
from tests.fakes.week.accounts import Disturbance
from tests.fakes.week.accounts import read as read_messages
from tests.fakes.week.clock import CLOCK_FILE, SharedTime
from tests.fakes.week.daemon import SYSFS, TRUTH
from tests.fakes.week.disk import Card
from tests.fakes.week.operator_desk import DEVICE, OperatorDesk
from tests.fakes.week.plan import RELEASES, WEEK, Step
from tests.fakes.week.weather import DAY_S, FPS, Weather

SPEED = 1200.0
EVE_S = 3600  # of the first window of each level nothing is told, so the device begins an hour before the first day
_JITTER_H = 0.3
_SLACK_S = 600.0  # two looks at the clock
_PATIENCE_S = 120.0
_SPOOL_REPORTS = 120
EPSILON_PER_DAY = 1.0
STATE_AT_THE_END, TRUTH_NAME = "state-at-the-end", "truth"


@dataclass(slots=True)
class Lived:
    """What a week was. `notes`: true time and what happened; `ordered`: versions; `broken`: promises that
    were seen to be broken; `footprints`: threads, descriptors and visions, at the first rest and at the end."""

    begin_s: int
    end_s: int
    notes: list[tuple[float, str]] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    ordered: list[int] = field(default_factory=list)
    power_cuts: int = 0
    broken: list[str] = field(default_factory=list)
    did_not_run: list[str] = field(default_factory=list)
    messages: list[Received] = field(default_factory=list)
    footprints: list[dict[str, int]] = field(default_factory=list)


class WeekDevice(UpdatingDevice):
    """A device whose daemon runs on the drill's clock, sensors and card."""

    def __init__(self, folder: Path, *, port: int, environment: dict[str, str]) -> None:
        super().__init__(
            folder,
            port=port,
            inference={"max_fps": float(FPS)},
            telemetry={"window_s": 900, "spool_max_reports": _SPOOL_REPORTS},
            tracking={"confirm_frames": 1, "forget_s": 0.1},
            privacy={"epsilon_per_day": EPSILON_PER_DAY},
            thermal={"period_s": 1.0},
        )
        self._program = "tests.fakes.week.daemon"
        temporary = {name: str(folder / "tmp") for name in ("HOME", "TMPDIR")}
        (folder / "tmp").mkdir()
        self._environment = {**environment, **temporary}

    def start(self, **environment: str) -> None:
        super().start(**self._environment, **environment)


class Life:
    """One device and all that happens to it. `live` is the recipe."""

    def __init__(
        self,
        folder: Path,
        *,
        days: int,
        seed: int,
        speed: float = SPEED,
        on_step: Callable[[float, str], None] = lambda _days, _text: None,
    ) -> None:
        """`on_step` is told how many days have passed, and what is done now."""
        self._folder, self._plan, self._on_step = folder, WEEK[:days], on_step
        self._chance = random.Random(seed)
        begin_s = (int(time.time()) // DAY_S + 1) * DAY_S  # the operator's clock is never ahead of the device's
        self.lived = Lived(begin_s, begin_s + days * DAY_S)
        self._time = SharedTime(folder / "clock")
        self._time.speed = speed
        self._time.true_s = begin_s - EVE_S
        self._time.set_clock(0.0, is_synchronised=True)
        self._cut_at_s = self._stepped_at_s = 0.0
        self._ordered_blind = False

    def live(self) -> Lived:
        """From the eve of the first day until a little after the last."""
        with ExitStack() as stack:
            broker = stack.enter_context(Broker(self._folder / "broker"))
            self._gate = stack.enter_context(Gate(broker.port))
            environment = {
                CLOCK_FILE: str(self._folder / "clock"),
                SYSFS: str(self._folder / "world" / "sys"),
                TRUTH: str(self._folder / TRUTH_NAME),
            }
            self.device = WeekDevice(self._folder / "device", port=self._gate.port, environment=environment)
            self._desk = OperatorDesk(self._folder / "desk", self.device, broker.port)
            self._card = stack.enter_context(Card(self._folder / "card.img", self.device.folder / "state"))
            if self._card.why_not:
                self.lived.did_not_run.append(f"power cuts are kills, and no disk is filled: {self._card.why_not}")
            self._subscriber = stack.enter_context(Subscriber(broker.port, f"edgeapp/v1/default/{DEVICE}/#"))
            video = self.device.folder / "video.avi"
            self._weather = stack.enter_context(Weather(self._folder / "world", video, self._time, self.device.status))
            stack.callback(self.device.kill)
            self.device.start()
            self.device.wait_inferring(_PATIENCE_S)
            for day, steps in enumerate(self._plan):
                self._live_day(day, steps)
            self._come_to_rest()
            self.lived.messages = self._subscriber.messages
            # To be looked at when the card is out.
            left_out = shutil.ignore_patterns("lost+found")
            shutil.copytree(self.device.folder / "state", self._folder / STATE_AT_THE_END, ignore=left_out)
        return self.lived

    def _live_day(self, day: int, steps: tuple[Step, ...]) -> None:
        if day == min(1, len(self._plan) - 1):
            self._pass_until(self.lived.begin_s + day * DAY_S + 1800)
            self._measure()
        for step in steps:
            hour = step.hour + self._chance.uniform(0, _JITTER_H)
            self._pass_until(self.lived.begin_s + day * DAY_S + hour * 3600)
            self._on_step((self._time.true_s - self.lived.begin_s) / DAY_S, step.do)
            _DO[step.do](self, step)

    def _pass_until(self, true_s: float) -> None:
        last_s, looked_s = self._time.true_s, time.monotonic()
        while self._time.true_s < true_s:
            time.sleep(0.02)
            if self._time.true_s > last_s:
                last_s, looked_s = self._time.true_s, time.monotonic()
            if time.monotonic() - looked_s > _PATIENCE_S or not self.device.is_running():
                raise AssertionError(f"the daemon does not go on:\n{self.device.log[-4000:]}")
            self._on_step((last_s - self.lived.begin_s) / DAY_S, "")

    def _note(self, text: str) -> None:
        self.lived.notes.append((self._time.true_s, text))

    def _disturb(self, reason: str, from_s: float, to_s: float) -> None:
        self.lived.disturbances.append(Disturbance(reason, from_s - _SLACK_S, to_s + _SLACK_S))

    # -- what may happen

    def _link(self, step: Step) -> None:
        {"link down": self._gate.shut, "link up": self._gate.open, "link jammed": self._gate.jam}[step.do]()
        if step.do != "link up":
            self._note(step.do)

    def _crowd(self, _: Step) -> None:
        self._time.send_crowd()
        self._note("14,738 people pass")

    def _power_cut(self, step: Step) -> None:
        if step.do == "power cut in the trial":
            self.device.wait_update(lambda one: one.trial_s > 0.5, "the trial", _PATIENCE_S)
        self._cut_at_s = self._time.true_s
        self._card.cut()
        self.device.kill()
        shown_s = self._time.true_s + self._time.offset_s
        shutil.rmtree(self.device.runtime_dir)  # it lies in memory
        self._time.true_s += step.value * 3600
        self._time.set_clock(shown_s - self._time.true_s, is_synchronised=False)
        self._card.come_back()
        self.lived.power_cuts += 1
        self._note(f"{step.do}, {step.value:g} h dark, no clock")
        self.device.start()
        self.device.wait_inferring(_PATIENCE_S)

    def _ntp(self, _: Step) -> None:
        released = self._counts_of_this_boot()
        if released:
            self.lived.broken.append(f"{released} counts were released without a clock")
        status = self.device.status()
        if status is None or not status.holds_counts_back:
            self.lived.broken.append("the status does not say that counts are held back")
        if self._ordered_blind and status and status.update and status.update.phase != "idle":
            self.lived.broken.append(f"an update is {status.update.phase} though it came without a clock")
        self._ordered_blind = False
        self._time.set_clock(0.0, is_synchronised=True)
        self._disturb("power cut", self._cut_at_s, self._time.true_s)
        self._note("the clock is right again")

    def _counts_of_this_boot(self) -> int:
        messages = read_messages((one.topic, one.payload) for one in self._subscriber.messages)
        boots = [one.fields["boot"] for one in self._subscriber.messages if one.topic.endswith("/status")]
        return sum(one.kind == "counts" and one.fields["boot"] == boots[-1] for one in messages)

    def _camera(self, step: Step) -> None:
        if step.do == "camera unplugged":
            self._weather.unplug()
            self._note(step.do)
            self.device.wait(lambda now: now.camera is not None and now.camera.state == "retrying", "the loss")
        else:
            self._weather.plug()
            self.device.wait(lambda now: now.camera is not None and now.camera.state == "running", "the camera")

    def _disk(self, step: Step) -> None:
        if self._card.why_not:
            return
        if step.do == "disk full":
            self._card.fill()
            self._note("disk full")
            self.device.wait(_has_full_disk, "the full disk to be noticed", _PATIENCE_S)
        else:
            self._card.free()
            self._note("disk free")

    def _clock(self, step: Step) -> None:
        if step.do == "clock steps":
            self._stepped_at_s = self._time.true_s
            self._time.set_clock(step.value * 3600, is_synchronised=True)
            self._note(f"clock steps {step.value:+g} h")
        else:
            shown_s = self._time.true_s + self._time.offset_s
            self._time.set_clock(0.0, is_synchronised=True)
            self._disturb("clock stepped", self._stepped_at_s, max(shown_s, self._time.true_s))
            self._note("clock is right again")

    def _heat(self, step: Step) -> None:
        self._weather.is_summer = step.do == "summer"
        if self._weather.is_summer:
            self._note("a summer noon")

    def _update(self, step: Step) -> None:
        version = round(step.value)
        is_again = version in self.lived.ordered
        planned = RELEASES[version]
        self._note(f"update to {version}" + (" again" if is_again else f" ({planned.fault})" if planned.fault else ""))
        self.lived.ordered += [] if is_again else [version]
        self._ordered_blind = not self._time.is_synchronised
        found = self._desk.install(version, wait=step.do == "update")
        expected = ("refused", "E_BLOCKED") if is_again else (planned.outcome, planned.code)
        if step.do == "update" and (found.get("phase"), found.get("code")) != expected:
            self.lived.broken.append(f"update to {version}: expected {expected}, found {found}")

    # -- the end

    def _come_to_rest(self) -> None:
        self._gate.open()
        self._pass_until(self.lived.end_s + EVE_S / 2)
        self.device.wait_update(lambda one: one.phase == "idle", "the end of every update", _PATIENCE_S)
        self.device.wait(lambda now: now.broker.waiting == 0, "an empty spool", _PATIENCE_S)
        self._measure()
        status, _ = self.device.stop(20.0)
        if status != 0:
            self.lived.broken.append(f"expected a stop with status 0, found {status}")
        if self.device.visions():
            self.lived.broken.append("a vision process outlived the daemon")
        self._subscriber.settle()

    def _measure(self) -> None:
        """Threads and descriptors of both processes and how many visions there are, at rest."""
        limits = self.lived.footprints[0] if self.lived.footprints else None
        deadline_s = time.monotonic() + 20
        found = _footprint(self.device.wait_inferring(_PATIENCE_S), self.device)
        while limits and time.monotonic() < deadline_s and any(found[name] > limits[name] for name in limits):
            time.sleep(0.2)
            found = _footprint(self.device.wait_inferring(_PATIENCE_S), self.device)
        self.lived.footprints.append(found)


def _has_full_disk(status: Status) -> bool:
    return status.trouble is not None and status.trouble.code == SpoolError.code


def _footprint(status: Status, device: WeekDevice) -> dict[str, int]:
    pids = {"control": device.pid, "vision": status.vision_pid or 0}
    found = {f"{name} threads": threads(pid) for name, pid in pids.items()}
    found |= {f"{name} descriptors": descriptors(pid) for name, pid in pids.items()}
    return {**found, "visions": len(device.visions())}


_DO: dict[str, Callable[[Life, Step], Any]] = {
    "link down": Life._link,
    "link up": Life._link,
    "link jammed": Life._link,
    "crowd": Life._crowd,
    "power cut": Life._power_cut,
    "power cut in the trial": Life._power_cut,
    "ntp": Life._ntp,
    "camera unplugged": Life._camera,
    "camera back": Life._camera,
    "disk full": Life._disk,
    "disk free": Life._disk,
    "clock steps": Life._clock,
    "clock is right": Life._clock,
    "summer": Life._heat,
    "summer ends": Life._heat,
    "update": Life._update,
    "order": Life._update,
}
