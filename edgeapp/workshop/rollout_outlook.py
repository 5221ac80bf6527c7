"""What would come of a rollout, told before anything is signed: when each wave starts, and who would refuse; pure.

Owns the forecast. It is made of the plan, the release's manifest, and what the fleet was last heard to say, so it is
not the device's own judgement: that also knows its runtime, board, memory and clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgeapp.updates.codes import Code
from edgeapp.updates.command import window_opens_in_s
from edgeapp.updates.messages import Event
from edgeapp.updates.release import ReleaseManifest, check_app
from edgeapp.workshop.rollout_plan import Plan


@dataclass(frozen=True, slots=True)
class Start:
    """When a wave starts, in Unix seconds: at the earliest, and at the latest where nothing halts or pauses it."""

    earliest_s: float
    latest_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A device as it was last heard of. `failed`: the code with which this very release failed there; empty: none."""

    device: str
    state: str
    app: str
    model: str
    version: int | None
    failed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What a device would make of the install. `code`: that of the refusal to be expected; empty: none."""

    device: str
    wave: int
    state: str
    runs: str
    code: str
    text: str


def starts(plan: Plan, trial_s: float, now_s: float) -> tuple[Start, ...]:
    """When the waves start. `trial_s`: how long the release is tried on each device."""
    found, earliest_s, latest_s = [], now_s, now_s
    for wave in plan.waves:
        found.append(Start(earliest_s, latest_s))
        earliest_s += window_opens_in_s(plan.window, earliest_s) + trial_s + wave.soak_s
        latest_s += wave.report_timeout_s + wave.soak_s
        latest_s = max(latest_s, earliest_s)
    return tuple(found)


def outlook(
    plan: Plan, release: ReleaseManifest | None, waves: Mapping[str, int], members: Iterable[Member]
) -> tuple[Outlook, ...]:
    """Each device of the rollout, wave by wave. `release` is None where its manifest is not at hand."""
    by_name = {member.device: member for member in members}
    found = []
    for device, wave in sorted(waves.items(), key=lambda item: (item[1], item[0])):
        member = by_name.get(device) or Member(device=device, state="unknown", app="", model="", version=None)
        version = "" if member.version is None else f" {member.version}"
        code, text = _expected(plan, release, member)
        found.append(
            Outlook(
                device=device,
                wave=wave,
                state=member.state,
                runs=f"{member.model}{version}" or "not told",
                code=code,
                text=text,
            )
        )
    return tuple(found)


def failures(events: Iterable[Event], sha256: str) -> dict[str, str]:
    """On which devices a release failed in use, by the events of the fleet: such a device has blocked it. The codes."""
    return {
        event.device: event.code
        for event in events
        if event.release is not None
        and event.release.sha256 == sha256
        and (event.phase == "rolled_back" or event.code == Code.E_LOAD_CRASH.name)
        and event.code
    }


def _expected(plan: Plan, release: ReleaseManifest | None, member: Member) -> tuple[str, str]:
    if member.failed:
        return Code.E_BLOCKED.name, f"would refuse it ({Code.E_BLOCKED.name}): it failed there with {member.failed}"
    if release is not None and member.app:
        refusal = check_app(release.compat.app, member.app)
        if refusal is not None:
            return refusal.code.name, f"would refuse it ({refusal.code.name}): {refusal.text}"
    version = int(plan.release.rpartition("/")[2].removesuffix(".json"))
    if member.version is not None and member.version > version and not plan.allow_downgrade:
        code = Code.E_DOWNGRADE.name
        return code, f"would refuse it ({code}): it runs version {member.version}"
    if (member.model, member.version) == (plan.release.split("/")[1], version):
        return "", "runs it already"
    return "", "would try it" if member.state == "online" else f"would try it once it comes: {member.state} now"
