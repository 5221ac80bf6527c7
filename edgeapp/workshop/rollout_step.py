"""When a wave has succeeded, when a rollout halts, and who gets which order: the decision, pure.

Owns the rule. Sending, listening and keeping the state are left to `rollout_driver.py`. Guarantees: no wave starts
before all waves before it have succeeded; silence counts as failure; `step` asks for the same orders again until they
are delivered, so whoever stops after any step and goes on later sends the same; the order in which reports arrive, and
how often, changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeapp.updates.messages import OUTCOMES
from edgeapp.workshop.rollout_plan import Plan, wave_order

SILENT = "silent"
TEMPORARY_CODES = ("E_NOT_YET", "E_CLOCK")  # the device judges again by itself
RequestKind = Literal["pause", "resume", "approve", "halt"]
Phase = Literal["running", "halting", "halted", "expired", "done"]
Standing = Literal["untouched", "open", "success", "failure"]


@dataclass(frozen=True, slots=True)
class Report:
    """What a device said about one of the rollout's orders."""

    device: str
    order: str
    phase: str
    code: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The broker has acknowledged an order for a device, at `at_s`."""

    device: str
    order: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asks of a running rollout."""

    kind: RequestKind


@dataclass(frozen=True, slots=True)
class Send:
    """An order to be published for a device; until it was delivered it is asked for again."""

    device: str
    order: str


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, and since when we have been listening without a break (None: we are not), in Unix seconds."""

    now_s: float
    listening_since_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceState:
    """One device. `order` is what it is to get, `delivered` what it got, at `delivered_s`.

    `ends` are the ends that it reported of its install, and `silent`; `phase`, `code` and `text` are the last report of
    it. `answered` says that it has ended what halts it.
    """

    wave: int
    order: str = ""
    delivered: str = ""
    delivered_s: float = 0.0
    ends: tuple[str, ...] = ()
    phase: str = ""
    code: str = ""
    text: str = ""
    answered: bool = False

    @property
    def standing(self) -> Standing:
        """What the device counts as. A failure stays one."""
        if not self.order:
            return "untouched"
        if not self.ends:
            return "open"
        return "success" if self.ends == ("committed",) else "failure"


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutState:
    """Where a rollout stands. `wave` is the newest that was started; `passed_s`: since when it has been a success.

    `approved` is the highest wave that somebody approved. Waves do not start any more at `expires_s`, when their
    commands do; what halts lives longer.
    """

    expires_s: float
    phase: Phase = "running"
    wave: int = -1
    approved: int = -1
    is_paused: bool = False
    passed_s: float | None = None
    halted_s: float = 0.0
    reason: str = ""
    devices: Mapping[str, DeviceState] = field(default_factory=dict)


def begin(waves: Mapping[str, int], expires_s: float) -> RolloutState:
    """The state before the first step, given the wave of each device and when the commands expire."""
    devices = {device: DeviceState(wave=wave) for device, wave in waves.items()}
    return RolloutState(expires_s=expires_s, devices=devices)


def step(
    plan: Plan, state: RolloutState, events: Iterable[Report | Delivered | Request], now: Moment
) -> tuple[RolloutState, tuple[Send, ...]]:
    """What has become of the rollout, and all the orders that are still to be delivered."""
    for event in events:
        state = _take(state, event, now)
    if state.phase == "running":
        state = _judge(plan, _count_silence(plan, state, now), now)
    if state.phase == "halting":
        state = _close(plan, _halt_orders(plan, state), now)
    sends = (Send(name, each.order) for name, each in state.devices.items() if each.order != each.delivered)
    return state, tuple(sends)


def tally(state: RolloutState, wave: int) -> Counter[str]:
    """How many devices of a wave stand how."""
    return Counter(each.standing for each in state.devices.values() if each.wave == wave)


def waits_for_approval(plan: Plan, state: RolloutState) -> bool:
    """Whether only an approval keeps the next wave from starting."""
    following = state.wave + 1
    if state.phase != "running" or following >= len(plan.waves) or not plan.waves[following].approval:
        return False
    return following > state.approved and (state.wave < 0 or state.passed_s is not None)


def _take(state: RolloutState, event: Report | Delivered | Request, now: Moment) -> RolloutState:
    if isinstance(event, Request):
        return _obey(state, event, now)
    device = state.devices.get(event.device)
    if device is None:
        return state
    if isinstance(event, Delivered):
        changed = dataclasses.replace(device, delivered=event.order, delivered_s=event.at_s)
    else:
        changed = _told(device, event)
    return dataclasses.replace(state, devices={**state.devices, event.device: changed})


def _told(device: DeviceState, report: Report) -> DeviceState:
    is_end = report.phase in OUTCOMES and report.code not in TEMPORARY_CODES
    if report.order != wave_order(device.wave):
        return dataclasses.replace(device, answered=device.answered or is_end)
    ends = tuple(sorted({*device.ends, report.phase})) if is_end else device.ends
    return dataclasses.replace(device, ends=ends, phase=report.phase, code=report.code, text=report.text)


def _obey(state: RolloutState, request: Request, now: Moment) -> RolloutState:
    if state.phase != "running":
        return state
    if request.kind == "halt":
        return _halted(state, "an operator halted it", now)
    if request.kind == "approve":
        return dataclasses.replace(state, approved=state.wave + 1)
    return dataclasses.replace(state, is_paused=request.kind == "pause")


def _has_listened(plan: Plan, now: Moment) -> bool:
    """Whether what waited for us at the broker has had time to arrive."""
    return now.listening_since_s is not None and now.now_s - now.listening_since_s >= plan.settle_s


def _count_silence(plan: Plan, state: RolloutState, now: Moment) -> RolloutState:
    if not _has_listened(plan, now):
        return state
    devices = dict(state.devices)
    for name, each in state.devices.items():
        is_delivered = each.order != "" and each.order == each.delivered
        limit_s = plan.waves[each.wave].report_timeout_s
        if is_delivered and not each.ends and now.now_s - each.delivered_s >= limit_s:
            devices[name] = dataclasses.replace(each, ends=(SILENT,))
    return dataclasses.replace(state, devices=devices)


def _judge(plan: Plan, state: RolloutState, now: Moment) -> RolloutState:
    """Halt, wait, or start the next wave. Failures of earlier waves, also late ones, halt as well."""
    for number in range(state.wave + 1):
        complaint = _complaint(plan, state, number)
        if complaint:
            return _halted(state, complaint, now)
    if not _has_listened(plan, now):
        return state
    if state.wave >= 0:
        is_passed = _is_passed(plan, state)
        state = dataclasses.replace(state, passed_s=(state.passed_s or now.now_s) if is_passed else None)
        if state.passed_s is None or now.now_s - state.passed_s < plan.waves[state.wave].soak_s:
            return state
    if state.wave + 1 == len(plan.waves):
        return dataclasses.replace(state, phase="done", reason="every wave has succeeded")
    if now.now_s >= state.expires_s:
        reason = "its commands have expired; what was installed stays"
        return dataclasses.replace(state, phase="expired", reason=reason)
    if state.is_paused or waits_for_approval(plan, state):
        return state
    return _start_wave(state, state.wave + 1)


def _complaint(plan: Plan, state: RolloutState, number: int) -> str:
    """Why a wave halts the rollout; empty where it does not."""
    wave, count = plan.waves[number], tally(state, number)
    size, failures = count.total(), count["failure"]
    share = 100 * failures / size
    found = f"wave {wave.name}: {failures} of {size} devices failed ({_causes(state, number)})"
    if share > wave.error_pct:
        return f"{found}, more than {wave.error_pct:g} %"
    if 100 * (size - failures) / size < wave.success_pct:
        return f"{found}; {wave.success_pct:g} % can no longer succeed"
    return ""


def _causes(state: RolloutState, number: int) -> str:
    failed = (each for each in state.devices.values() if each.wave == number and each.standing == "failure")
    causes = Counter(SILENT if SILENT in each.ends else each.code or each.phase for each in failed)
    return ", ".join(f"{cause} {count}" for cause, count in causes.most_common())


def _is_passed(plan: Plan, state: RolloutState) -> bool:
    wave, count = plan.waves[state.wave], tally(state, state.wave)
    reports = count["success"] + count["failure"]
    return reports >= wave.min_reports and 100 * count["success"] / count.total() >= wave.success_pct


def _start_wave(state: RolloutState, number: int) -> RolloutState:
    order = wave_order(number)
    devices = {
        name: dataclasses.replace(each, order=order) if each.wave == number else each
        for name, each in state.devices.items()
    }
    return dataclasses.replace(state, wave=number, passed_s=None, devices=devices)


def _halted(state: RolloutState, reason: str, now: Moment) -> RolloutState:
    return dataclasses.replace(state, phase="halting", reason=reason, halted_s=now.now_s)


def _halt_orders(plan: Plan, state: RolloutState) -> RolloutState:
    """Who was addressed is cancelled. Who has committed goes back where the plan says so, also if that is heard late.

    A rollback for a device that had not committed would take it one release too far back.
    """
    devices = dict(state.devices)
    for name, each in state.devices.items():
        if not each.order:
            continue
        has_new = "committed" in each.ends and "rolled_back" not in each.ends
        order = "rollback" if has_new and plan.on_halt == "rollback" else "cancel"
        if each.order not in (order, "rollback"):
            devices[name] = dataclasses.replace(each, order=order, answered=False)
    return dataclasses.replace(state, devices=devices)


def _close(plan: Plan, state: RolloutState, now: Moment) -> RolloutState:
    """A halt is over once every addressed device has ended what halts it, or was given time to."""
    touched = [each for each in state.devices.values() if each.order]
    is_delivered = all(each.order == each.delivered for each in touched)
    is_over = all(each.answered for each in touched) or now.now_s - state.halted_s >= plan.halt_timeout_s
    if is_delivered and is_over:
        return dataclasses.replace(state, phase="halted")
    return state
