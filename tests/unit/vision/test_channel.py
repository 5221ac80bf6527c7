"""Between the processes nothing is lost that was said, and nothing blocks."""

from __future__ import annotations

import socket

import pytest

from edgeapp.vision import protocol
from edgeapp.vision.channel import Channel


def test_the_last_words_of_a_side_that_left_ours_unread_are_heard() -> None:
    ours, theirs = (Channel(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    assert ours.send(protocol.SetRate(fps=5.0))
    assert theirs.send(protocol.Failure(code="E_LOAD", text="refused"))
    theirs.close()  # with the rate unread, which the kernel tells as a reset
    assert ours.receive(1.0) == protocol.Failure(code="E_LOAD", text="refused")
    with pytest.raises(EOFError):
        ours.receive(1.0)


def test_a_send_to_a_side_that_does_not_read_returns_at_once() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with far:
        ours = Channel(near)
        for _ in range(10_000):
            if not ours.send(protocol.SetRate(fps=5.0)):
                break
        else:
            pytest.fail("10 000 messages fitted into the socket")
        ours.close()
