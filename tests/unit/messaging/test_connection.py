from __future__ import annotations

import errno
import socket

import pytest

from edgeapp.messaging.connection import in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "connection refused"),
        (ConnectionResetError(errno.ECONNRESET, "x"), "connection lost"),
        (TimeoutError("timed out"), "no answer within 5 s"),
        (OSError(errno.ENETUNREACH, "x"), "no route"),
        (OSError(errno.EHOSTUNREACH, "x"), "no route"),
        (socket.gaierror(socket.EAI_NONAME, "x"), "name not found"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "the name server does not answer"),
        (UnicodeError("label too long"), "not a host name"),
        (ValueError("password file /x cannot be read"), "password file /x cannot be read"),
        (OSError(), "OSError"),
    ],
)
def test_an_error_is_told_in_words_a_technician_can_use(error: Exception, words: str) -> None:
    assert in_words(error) == words
