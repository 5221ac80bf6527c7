"""What a rollout is to do: the waves, which device stands in which, and the commands they need, pure.

Owns the form of the plan and what must hold between its keys. When a wave has succeeded is left to `rollout_step.py`.
Guarantee: each device stands in one wave, and no wave is empty, so none is passed without evidence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Literal

from edgeapp.errors import RolloutError
from edgeapp.manifest import Sha256
from edgeapp.reader import Length, Pattern, Range, read_yaml
from edgeapp.updates.command import Audience, Cohort, Label, Reason, ReleasePath, Url, Window, is_in_cohort
from edgeapp.updates.messages import DeviceId

_DAY_S = 86_400
_HALT_ORDERS = {"cancel": ("cancel",), "rollback": ("cancel", "rollback")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Wave:
    """Some of the devices, named or by their share, and what they must show before the next wave starts.

    `pct` counts the waves before in: 25 after 5 addresses a further 20 %. `error_pct`: more failures than this share of
    the wave's devices halt the rollout. A device that says nothing for `report_timeout_s` has failed. `approval`: the
    wave waits for somebody to approve it.
    """

    name: Label
    devices: Annotated[tuple[DeviceId, ...], Length(0, 200, "device ids")] = ()
    pct: Annotated[float, Range(0.01, 100, "% of the devices")] | None = None
    min_reports: Annotated[int, Range(1, 1_000_000, "devices")] = 1
    success_pct: Annotated[float, Range(1, 100, "% of the wave")] = 100.0
    error_pct: Annotated[float, Range(0, 100, "% of the wave")] = 0.0
    soak_s: Annotated[float, Range(0, 30 * _DAY_S, "seconds")] = 3600.0
    report_timeout_s: Annotated[float, Range(1, 30 * _DAY_S, "seconds")] = 7200.0
    approval: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A rollout. Without `devices` it is for all that the broker knows at its start.

    `on_halt`: devices that have not committed get a cancel; with rollback those that have go back. `settle_s`: for this
    long after the tool begins to listen again, silence is not judged, so that what waited can arrive.
    """

    name: Annotated[str, Pattern(r"[a-z0-9][a-z0-9-]{0,39}", "1 to 40 of a-z, 0-9 and -")]
    release: ReleasePath
    sha256: Sha256 | None = None
    devices: Annotated[tuple[DeviceId, ...], Length(0, 2000, "device ids")] = ()
    waves: Annotated[tuple[Wave, ...], Length(1, 20, "waves")]
    on_halt: Literal["cancel", "rollback"] = "cancel"
    halt_timeout_s: Annotated[float, Range(1, 30 * _DAY_S, "seconds")] = 3600.0
    settle_s: Annotated[float, Range(0.1, 3600, "seconds")] = 10.0
    expires_h: Annotated[float, Range(0.1, 2160, "hours")] = 336.0
    window: Window | None = None
    allow_downgrade: bool = False
    urls: Annotated[tuple[Url, ...], Length(0, 8, "addresses")] = ()
    reason: Reason = field(default="")


def read_plan(content: bytes, origin: str) -> Plan:
    """The plan in a YAML document.

    Raises:
        ConfigMistakesError: it is malformed; every mistake is listed.
        RolloutError: its keys contradict each other.
    """
    plan = read_yaml(Plan, content, origin)
    check_plan(plan, origin)
    return plan


def check_plan(plan: Plan, origin: str) -> None:
    """Hold the keys of a plan against each other.

    Raises:
        RolloutError: with every mistake.
    """
    mistakes = []
    names = [wave.name for wave in plan.waves]
    if len(set(names)) < len(names):
        mistakes.append(f"waves: expected names that differ, found {', '.join(names)}")
    share = 0.0
    for wave in plan.waves:
        if (wave.pct is None) == (not wave.devices):
            mistakes.append(f"wave {wave.name}: expected either devices or pct")
        if wave.pct is not None:
            if wave.pct <= share:
                mistakes.append(f"wave {wave.name}: pct: expected more than {share:g}, found {wave.pct:g}")
            share = wave.pct
        if plan.window is not None and wave.report_timeout_s <= _DAY_S:
            mistakes.append(f"wave {wave.name}: report_timeout_s: expected more than a day with a window")
    longest_h = sum(wave.report_timeout_s + wave.soak_s for wave in plan.waves) / 3600
    if longest_h > plan.expires_h:
        mistakes.append(
            f"expires_h: expected at least the time of all waves, {longest_h:.1f}, found {plan.expires_h:g}"
        )
    _raise(mistakes, origin)


def assign(plan: Plan, known: Collection[str]) -> dict[str, int]:
    """The number of its wave for each of the known devices that the plan is for and that one of its waves takes.

    Raises:
        RolloutError: a named device is unknown, or a wave could never end well.
    """
    wanted = sorted(plan.devices or known)
    unknown = sorted({*wanted, *(device for wave in plan.waves for device in wave.devices)} - set(known))
    mistakes = [f"{device}: expected a device that the broker knows" for device in unknown]
    waves: dict[str, int] = {}
    for number, wave in enumerate(plan.waves):
        cohort = Cohort(salt=plan.name, pct=wave.pct or 0.0)
        taken = wave.devices or [device for device in wanted if is_in_cohort(cohort, device)]
        new = [device for device in taken if device not in waves]
        waves.update(dict.fromkeys(new, number))
        if not new:
            mistakes.append(f"wave {wave.name}: expected devices, found none; a larger share or another name helps")
        elif len(new) < wave.min_reports:
            mistakes.append(f"wave {wave.name}: min_reports: expected at most its {len(new)} devices")
    _raise(mistakes, plan.name)
    return waves


def audiences(plan: Plan) -> dict[str, Audience]:
    """Whom each order of the rollout is for, in the order of their sequence numbers.

    The orders are wave-0, wave-1, …, cancel and, where the plan wants it, rollback. What halts comes last, so that no
    wave can overtake it.
    """
    orders = {}
    for number, wave in enumerate(plan.waves):
        cohort = None if wave.pct is None else Cohort(salt=plan.name, pct=wave.pct)
        named = wave.devices if cohort is None else plan.devices
        orders[wave_order(number)] = Audience(devices=named, all=not named, cohort=cohort)
    canaries = tuple(device for wave in plan.waves for device in wave.devices)
    named = tuple(sorted({*plan.devices, *canaries})) if plan.devices else ()
    for order in _HALT_ORDERS[plan.on_halt]:
        orders[order] = Audience(devices=named, all=not named)
    return orders


def wave_order(number: int) -> str:
    """The order that installs on a wave."""
    return f"wave-{number}"


def _raise(mistakes: list[str], origin: str) -> None:
    if mistakes:
        raise RolloutError("\n".join(f"{origin}: {mistake}" for mistake in mistakes))
