"""What is done about a command that brings no release: roll back, cancel, pin, unpin, status. Pure."""

from __future__ import annotations

from collections.abc import Set

from edgeapp.updates import changes
from edgeapp.updates.codes import Code, Refusal
from edgeapp.updates.command import Command
from edgeapp.updates.phases import Phase
from edgeapp.updates.state import KeptCommand, State


def answer(state: State, seen: KeptCommand, command: Command, *, now_s: int) -> tuple[State, Phase]:
    """Follow a command that can be followed at once; with which end. What it ends of the work in hand has ended."""
    phase = Phase.COMMITTED
    match command.op:
        case "rollback":
            state, phase = changes.go_back(state), Phase.ROLLED_BACK
        case "cancel":
            phase = Phase.CANCELLED
        case "pin" | "unpin":
            state = changes.pin(state, is_pinned=command.op == "pin")
    return changes.conclude(state, seen, phase, code="", now_s=now_s), phase


def judge_rollback(state: State, command: Command, withdrawn: Set[str]) -> Refusal | None:
    """Whether the device may go back to its last good release. The factory model counts as release number 0."""
    if state.active is None:
        return Refusal(Code.E_NO_LAST_GOOD, "expected a release that was installed here, found the factory model")
    if state.is_pinned:
        return Refusal(Code.E_PINNED, f"expected an unpinned device, found it pinned to {state.active.version}")
    target = state.last_good
    version = target.version if target else 0
    if target and target.sha256 in withdrawn:
        return Refusal(Code.E_WITHDRAWN, f"expected a last good release in force, found {version} withdrawn")
    if version < state.security_floor:
        return Refusal(Code.E_FLOOR, f"expected version {state.security_floor} or later, found {version}")
    if version < state.version_floor and not command.allow_downgrade:
        expected = f"expected version {state.version_floor} or later, or allow_downgrade"
        return Refusal(Code.E_DOWNGRADE, f"{expected}, found {version}")
    return None
