"""One code opens once, for a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from edgeapp.aim.gate import MAX_WRONG_CODES, Event, Phase, spelled
from edgeapp.aim.session import Session
from tests.fakes.clock import FakeClock


def begun() -> tuple[Session, FakeClock]:
    clock = FakeClock(1_700_000_000)
    return Session(clock, 600.0), clock


def test_the_code_opens_once_and_the_token_admits() -> None:
    session, _ = begun()
    token = session.enter(spelled(session.code).upper())
    assert token
    assert session.admits(token)
    assert session.enter(session.code) is None, "a code is used up"
    assert session.admits(token)
    for other in ("", token[:-1], token + "x", "ä"):
        assert not session.admits(other)


def test_of_many_who_come_at_once_with_the_code_one_gets_in() -> None:
    session, _ = begun()
    with ThreadPoolExecutor(16) as pool:
        tokens = [token for token in pool.map(session.enter, [session.code] * 64) if token]
    assert len(tokens) == 1


def test_after_five_wrong_codes_the_right_one_is_refused() -> None:
    session, _ = begun()
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(session.enter, ["aaaaaaaa"] * MAX_WRONG_CODES))
    assert session.enter(session.code) is None
    assert session.ended.is_set()
    assert session.gate().ended_by is Event.WRONG_CODES


def test_after_its_time_neither_code_nor_token_is_worth_anything() -> None:
    session, clock = begun()
    token = session.enter(session.code)
    assert token
    clock.advance(599)
    assert session.admits(token)
    assert session.left_s() == 1
    clock.advance(1)
    assert not session.admits(token)
    assert session.ended.is_set()
    other, clock = begun()
    clock.advance(600)
    assert other.enter(other.code) is None
    assert other.gate().phase is Phase.ENDED


def test_the_first_end_stands() -> None:
    session, clock = begun()
    session.end(Event.SERVICE)
    session.end(Event.INTERRUPTED)
    clock.advance(1000)
    assert session.gate().ended_by is Event.SERVICE


def test_done_needs_somebody_who_got_in() -> None:
    session, _ = begun()
    session.end(Event.DONE)
    assert session.gate().phase is Phase.WAITING


def test_codes_and_tokens_are_new_each_time() -> None:
    sessions = [begun()[0] for _ in range(50)]
    assert len({each.code for each in sessions}) == 50
    assert len({each.enter(each.code) for each in sessions}) == 50
