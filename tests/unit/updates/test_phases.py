"""The tables can be checked by eye; this checks what the eye could miss."""

from __future__ import annotations

import itertools

import pytest

from edgeapp.updates.codes import UpdateError
from edgeapp.updates.phases import (
    AFTER_ATTEMPTS,
    AFTER_RESTART,
    AT_RISK,
    BUSY,
    ENDS,
    LIMITS,
    TRANSITIONS,
    Event,
    Phase,
    Undo,
    next_phase,
)


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_every_step_is_in_the_table_or_refused_by_name(phase: Phase, event: Event) -> None:
    if event in TRANSITIONS[phase]:
        assert next_phase(phase, event) is TRANSITIONS[phase][event]
    else:
        with pytest.raises(UpdateError, match=f"{phase}.*{event}") as raised:
            next_phase(phase, event)
        assert raised.value.code == "E_STATE"


def test_every_phase_can_be_reached_and_every_event_happens() -> None:
    reached, fresh = {Phase.IDLE}, {Phase.IDLE}
    while fresh:
        fresh = {after for phase in fresh for after in TRANSITIONS[phase].values()} - reached
        reached |= fresh
    assert reached == set(Phase)
    assert {event for steps in TRANSITIONS.values() for event in steps} == set(Event)


@pytest.mark.parametrize("phase", sorted(BUSY))
def test_every_update_can_fail_be_cancelled_and_superseded_until_it_is_committed(phase: Phase) -> None:
    assert next_phase(phase, Event.FAILED) in (Phase.FAILED, Phase.ROLLED_BACK)
    assert next_phase(phase, Event.CANCELLED) is Phase.CANCELLED
    assert next_phase(phase, Event.SUPERSEDED) is Phase.SUPERSEDED


@pytest.mark.parametrize("phase", sorted(ENDS))
def test_an_end_leads_to_idle_alone_and_only_once_reported(phase: Phase) -> None:
    assert TRANSITIONS[phase] == {Event.REPORTED: Phase.IDLE}


def test_the_second_table_knows_every_phase_and_the_limits_every_busy_one() -> None:
    assert set(AFTER_RESTART) == set(Phase)
    assert set(LIMITS) == set(AFTER_ATTEMPTS) == BUSY
    assert all(limit_s > 0 for limit_s, _ in LIMITS.values())
    assert {undo for _, undo in LIMITS.values()} == set(Undo)


def test_a_restart_never_goes_forward_and_is_settled_after_one_step() -> None:
    order = list(Phase)
    for phase, after in AFTER_RESTART.items():
        assert order.index(after) <= order.index(phase)
        assert AFTER_RESTART[after] is after
        assert (phase in AT_RISK) == (after in AT_RISK), "attempts would be forgotten, or counted for nothing"
