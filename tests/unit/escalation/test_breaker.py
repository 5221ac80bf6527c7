"""The breaker's table is complete, and what it lets through after failures is one crop at a time."""

from __future__ import annotations

import itertools

import pytest

from edgeapp.escalation.breaker import MAX_FAILURES, STEPS, Breaker, Event, State

CLOSED = Breaker(State.CLOSED)


def test_every_step_that_can_happen_is_in_the_table() -> None:
    never = {(State.OPEN, Event.ANSWERED), (State.OPEN, Event.FAILED)}
    assert set(STEPS) == set(itertools.product(State, Event)) - never
    with pytest.raises(KeyError):
        Breaker(State.OPEN).after(Event.FAILED)


def test_it_begins_open_and_a_probe_lets_one_crop_through() -> None:
    assert not Breaker().lets_through
    trying = Breaker().after(Event.WELL)
    assert trying.state is State.TRYING
    assert trying.after(Event.ANSWERED) == CLOSED
    assert trying.after(Event.FAILED).state is State.OPEN


def test_failures_in_a_row_open_it_and_an_answer_between_forgives() -> None:
    breaker = CLOSED
    for _ in range(MAX_FAILURES - 1):
        breaker = breaker.after(Event.FAILED)
    assert breaker.lets_through
    assert not breaker.after(Event.FAILED).lets_through
    assert breaker.after(Event.ANSWERED).after(Event.FAILED).lets_through


def test_a_failed_probe_opens_it_at_once() -> None:
    assert not CLOSED.after(Event.UNWELL).lets_through
