"""A flood in front of the installer takes no memory and holds nobody."""

from __future__ import annotations

from edgeapp.document import JSON_MAX_BYTES
from edgeapp.updates.inbox import Inbox


def test_a_flood_is_bounded_and_the_newest_messages_stay() -> None:
    inbox = Inbox()
    for number in range(10_000):
        inbox.put(b"%d" % number)
    taken = [inbox.take(0.0) for _ in range(17)]
    assert taken[0] == b"9984"
    assert taken[15:] == [b"9999", None]


def test_an_endless_message_is_cut_so_that_it_is_refused_as_too_long() -> None:
    inbox = Inbox()
    inbox.put(b"x" * 10_000_000)
    assert len(inbox.take(0.0) or b"") == JSON_MAX_BYTES + 1


def test_what_is_to_be_judged_later_comes_when_it_is_due_and_is_bounded() -> None:
    inbox = Inbox()
    for number in range(6):
        inbox.keep(b"%d" % number, 10.0 + number)
    assert inbox.take(9.0) is None
    assert [inbox.take(20.0) for _ in range(5)] == [b"2", b"3", b"4", b"5", None]
