"""Each change of what a device remembers, as a function from state to state, pure.

Owns what a step means for the state. Nothing counts until `Store.commit` has written it; several changes may be
composed into one commit. Guarantees: `active` changes at a commit only, floors never fall, and a step that the table
in `phases.py` does not allow raises.
"""

from __future__ import annotations

from dataclasses import replace

from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.facts import Floors
from edgeapp.updates.phases import AT_RISK, ENDS, MAX_ATTEMPTS, Event, Phase, next_phase
from edgeapp.updates.state import LEVELS, MAX_BLOCKED, MAX_HISTORY, Ending, KeptCommand, Release, State
from edgeapp.updates.trial import Conduct


def see(state: State, command: KeptCommand) -> State:
    """Remember a command of any kind, so that neither it nor an older one is obeyed again.

    Raises:
        UpdateError: E_REPLAY: it is not newer than the newest.
    """
    if command.seq <= state.seq_seen:
        raise UpdateError(
            Code.E_REPLAY, f"command {command.id}: expected seq over {state.seq_seen}, found {command.seq}"
        )
    return replace(state, newest=command)


def receive(state: State, command: KeptCommand) -> State:
    """Take a command that brings a release into work."""
    return replace(see(state, command), phase=next_phase(state.phase, Event.COMMAND), command=command)


def accept(state: State, release: Release) -> State:
    """The command's release is genuine and allowed here."""
    return replace(state, phase=next_phase(state.phase, Event.GENUINE), candidate=release)


def begin_trial(state: State, before: Conduct | None) -> State:
    """The candidate begins to run; `before` is how the one before it did."""
    return replace(advance(state, Event.SWITCHED), before_trial=before)


def advance(state: State, event: Event) -> State:
    """A step on the way that neither begins nor ends the work.

    The running process counts as the first attempt where the candidate comes into play, and where it begins to run.
    """
    phase = next_phase(state.phase, event)
    if phase in ENDS:
        raise UpdateError(Code.E_STATE, f"update in {state.phase}: expected a step on the way, found the end {phase}")
    is_first = phase in (Phase.STAGED, Phase.TRIAL)
    return replace(state, phase=phase, attempts=1 if is_first else state.attempts)


def end(state: State, event: Event, *, code: str, now_s: int) -> State:
    """End the work: what was committed becomes active; what was rolled back is blocked.

    `code` is empty where all went well. `now_s` is Unix time.
    """
    phase, command = next_phase(state.phase, event), state.command
    if phase not in ENDS or command is None:
        raise UpdateError(Code.E_STATE, f"update in {state.phase}: expected an end, found {event}")
    if phase is Phase.COMMITTED:
        state = _make_active(state)
    if phase is Phase.ROLLED_BACK:
        state = _block(state)
    ending = Ending(
        command_id=command.id,
        seq=command.seq,
        version=state.candidate.version if state.candidate else None,
        outcome=phase,
        code=code,
        ended_s=now_s,
    )
    history = (*state.history, ending)[-MAX_HISTORY:]
    return replace(state, phase=phase, attempts=0, candidate=None, command=None, before_trial=None, history=history)


def conclude(state: State, command: KeptCommand, outcome: Phase, *, code: str, now_s: int) -> State:
    """Remember a command that was answered at once; what is in work goes on."""
    ending = Ending(command_id=command.id, seq=command.seq, version=None, outcome=outcome, code=code, ended_s=now_s)
    state = see(state, command)
    return replace(state, history=(*state.history, ending)[-MAX_HISTORY:])


def go_back(state: State) -> State:
    """Make the last good release active, or the factory model where there is none. What was active is not blocked."""
    return replace(state, active=state.last_good, last_good=None)


def report(state: State) -> State:
    """The end stands in the spool: the device is free for the next command."""
    return replace(state, phase=next_phase(state.phase, Event.REPORTED))


def give_up(state: State, *, code: str, now_s: int) -> State:
    """End the work because starts have ended badly in it. A candidate that was at risk is blocked."""
    return end(_block(state) if state.phase in AT_RISK else state, Event.FAILED, code=code, now_s=now_s)


def pin(state: State, *, is_pinned: bool) -> State:
    """Keep the active release whatever install commands say, or no longer."""
    return replace(state, is_pinned=is_pinned)


def raise_floors(state: State, floors: Floors) -> State:
    """Signed content says so. Floors never fall. What was committed and blocked here is not signed content's to say."""
    return replace(
        state,
        security_floor=max(state.security_floor, floors.security_floor),
        time_floor_s=max(state.time_floor_s, floors.time_floor_s),
        payload_sha256=floors.command_sha256 if floors.seq_seen == state.seq_seen else state.payload_sha256,
        metadata=floors.metadata,
    )


def start(state: State) -> State:
    """A start begins: it counts as one that ends badly until the contrary is known."""
    return replace(state, attempts=min(state.attempts + 1, LEVELS * MAX_ATTEMPTS))


def stop_cleanly(state: State) -> State:
    """The process is about to stop as asked: this start counts for nothing."""
    return replace(state, attempts=max(state.attempts - 1, 0))


def prove_healthy(state: State) -> State:
    """The process has run well for a while: starts that ended badly are forgotten, unless the candidate is at risk."""
    return state if state.phase in AT_RISK else replace(state, attempts=0)


def forget_damaged(state: State, intact: frozenset[str]) -> State:
    """Refer to no committed release with a blob that is not `intact`. A candidate with one is fetched again."""
    last_good = state.last_good if state.last_good and state.last_good.blobs <= intact else None
    if state.active and not state.active.blobs <= intact:
        state = replace(state, active=last_good, last_good=None)
    else:
        state = replace(state, last_good=last_good)
    if state.phase in AT_RISK and state.candidate and not state.candidate.blobs <= intact:
        state = replace(state, phase=Phase.RECEIVED)
    return state


def _make_active(state: State) -> State:
    candidate = state.candidate
    assert candidate is not None, "a commit has a candidate"
    is_new = state.active is None or state.active.sha256 != candidate.sha256
    return replace(
        state,
        active=candidate,
        last_good=state.active if is_new else state.last_good,
        version_floor=max(state.version_floor, candidate.version),
    )


def _block(state: State) -> State:
    candidate = state.candidate
    assert candidate is not None, "a trial has a candidate"
    blocked = (*(each for each in state.blocked if each != candidate.sha256), candidate.sha256)
    is_last_good = state.last_good is not None and state.last_good.sha256 == candidate.sha256
    return replace(state, blocked=blocked[-MAX_BLOCKED:], last_good=None if is_last_good else state.last_good)
