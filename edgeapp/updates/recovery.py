"""What to do with the store as a start finds it: a function of what lies there, pure.

Owns the choice among the two copies of the state, the second table of `phases.py`, which models to run, and what is
garbage. Looking and doing are `store.py`'s. Guarantees: there is always an answer; starts that end badly, again and
again, lead within a bounded number to the last good release, the factory model, and safe mode; one start that goes
well leads back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from edgeapp.updates import changes
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.phases import AFTER_ATTEMPTS, AFTER_RESTART, AT_RISK, BUSY, MAX_ATTEMPTS, Phase
from edgeapp.updates.state import FRESH, Release, State

SLOTS = ("state.a", "state.b")
BLOBS, STAGE, RELEASES = "blobs", "stage", "releases"


class Level(StrEnum):
    """Which of its models a device runs."""

    CANDIDATE = "candidate"
    ACTIVE = "active"
    LAST_GOOD = "last_good"
    FACTORY = "factory"


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the store.

    `slots` has for each of SLOTS its state, why it has none, or None for no file; `files` the entries of the three
    folders as "blobs/…", and unfinished writes beside the slots; `intact` the sha256 of the blobs that a state refers
    to and that are there and, at a start, have been found right.
    """

    slots: Mapping[str, State | UpdateError | None]
    files: frozenset[str]
    intact: frozenset[str]

    @property
    def states(self) -> tuple[State, ...]:
        """Those that can be read."""
        return tuple(each for each in self.slots.values() if isinstance(each, State))

    @property
    def newest(self) -> State | None:
        """The one that counts."""
        return max(self.states, key=lambda state: state.generation, default=None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start does: remove, write `state`, run the first of `models` that runs; none of them is safe mode."""

    state: State
    models: tuple[tuple[Level, Release | None], ...]
    remove: tuple[str, ...]
    findings: tuple[UpdateError, ...]


def recover(found: Found, now_s: int) -> Plan:
    """What to do about what was found. `now_s` is Unix time, for the history."""
    findings = [each for each in found.slots.values() if isinstance(each, UpdateError)]
    old = found.newest or FRESH
    if old is FRESH and (findings or any(path.startswith(f"{BLOBS}/") and "/." not in path for path in found.files)):
        findings.append(UpdateError(Code.E_STATE_LOST, "expected a state, found none that can be read: factory model"))
    state = changes.forget_damaged(old, found.intact)
    findings += _tell_damaged(old, state, found.intact)
    state = _resume(state, now_s)
    return Plan(
        state=changes.start(state),
        models=_models(state),
        remove=garbage(found, state),
        findings=tuple(findings),
    )


def garbage(found: Found, state: State) -> tuple[str, ...]:
    """What neither `state` nor a state on disk refers to, and what is damaged.

    The older of the two copies counts as well: it must stay usable should the newer one be lost.
    """
    states = (*found.states, state)
    blobs = frozenset[str]().union(*(each.blobs for each in states)) & found.intact
    wanted = (state.candidate.blobs if state.candidate else frozenset[str]()) - found.intact
    folders = {release.folder_name for each in states for release in each.releases}
    kept = {f"{BLOBS}/{sha256}" for sha256 in blobs} | {f"{RELEASES}/{name}" for name in folders}
    return tuple(
        sorted(
            path
            for path in found.files
            if path not in kept and not (path.startswith(f"{STAGE}/") and _stem(path) in wanted)
        )
    )


def _resume(state: State, now_s: int) -> State:
    if state.phase in BUSY and state.attempts >= MAX_ATTEMPTS:
        return changes.give_up(state, code=AFTER_ATTEMPTS[state.phase], now_s=now_s)
    return replace(state, phase=AFTER_RESTART[state.phase])


def _models(state: State) -> tuple[tuple[Level, Release | None], ...]:
    """In the order to try them: the candidate in its trial, then as far down as starts have ended badly."""
    if state.phase is Phase.TRIAL:
        return ((Level.CANDIDATE, state.candidate), *_committed(state))
    return _committed(state)[state.attempts // MAX_ATTEMPTS :]


def _committed(state: State) -> tuple[tuple[Level, Release | None], ...]:
    releases = ((Level.ACTIVE, state.active), (Level.LAST_GOOD, state.last_good))
    return (*((level, release) for level, release in releases if release), (Level.FACTORY, None))


def _tell_damaged(old: State, new: State, intact: frozenset[str]) -> list[UpdateError]:
    needed = old.releases if old.phase in AT_RISK else (old.active, old.last_good)
    findings = [
        UpdateError(Code.E_HASH, f"release {each.name} {each.version}: expected its files whole, found damage")
        for each in needed
        if each and not each.blobs <= intact
    ]
    if old.active and not new.active:
        findings.append(UpdateError(Code.E_NO_LAST_GOOD, "expected a last good release, found none: factory model"))
    return findings


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]
