"""Who may look, and for how long."""

from __future__ import annotations

import dataclasses

import pytest

from edgeapp.aim.gate import CODE_ALPHABET, MAX_WRONG_CODES, TRANSITIONS, Event, Gate, Phase, plain, spelled

WAITING = Gate(ends_s=600.0)
OPEN = WAITING.told(is_right=True)


def test_the_right_code_opens() -> None:
    assert OPEN.phase is Phase.OPEN


def test_five_wrong_codes_end_it_and_four_do_not() -> None:
    gate = WAITING
    for wrong in range(1, MAX_WRONG_CODES):
        gate = gate.told(is_right=False)
        assert (gate.phase, gate.wrong_codes) == (Phase.WAITING, wrong)
    assert gate.told(is_right=True).phase is Phase.OPEN
    gate = gate.told(is_right=False)
    assert (gate.phase, gate.ended_by) == (Phase.ENDED, Event.WRONG_CODES)
    assert gate.told(is_right=True) == gate, "after the end no code is a right one"


def test_a_stranger_cannot_end_with_wrong_codes_what_is_open() -> None:
    gate = OPEN
    for _ in range(2 * MAX_WRONG_CODES):
        gate = gate.told(is_right=False)
    assert gate == OPEN


@pytest.mark.parametrize("gate", [WAITING, OPEN])
def test_its_time_ends_it_to_the_moment(gate: Gate) -> None:
    assert gate.at(599.9) == gate
    assert gate.at(600.0) == dataclasses.replace(gate, phase=Phase.ENDED, ended_by=Event.TIME_UP)
    assert gate.at(600.0).at(700.0) == gate.at(600.0)


def test_nothing_leads_out_of_the_end() -> None:
    assert all(before is not Phase.ENDED for before, _ in TRANSITIONS)
    with pytest.raises(KeyError):
        WAITING.at(600.0).after(Event.RIGHT_CODE)


@pytest.mark.parametrize("typed", ["abcd-2345", "ABCD 2345", " abcd2345\n", "a.b.c.d-2345"])
def test_a_code_is_taken_however_it_is_typed(typed: str) -> None:
    assert plain(typed) == "abcd2345"


def test_a_code_is_shown_in_groups_of_letters_that_cannot_be_confused() -> None:
    assert spelled("abcd2345") == "abcd-2345"
    assert len(set(CODE_ALPHABET)) == len(CODE_ALPHABET) == 31
    assert not set("01oil") & set(CODE_ALPHABET)
