"""Vision ends when control lets go of it, whatever it hangs in."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from edgeapp.vision import lifeline

_HANGING = """
import socket, sys, time
from edgeapp.vision import lifeline
lifeline.hold(socket.socket(fileno=int(sys.argv[1])))
print("holds", flush=True)
time.sleep(600)
"""


def test_a_cut_is_seen_without_reading_what_was_said_before() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near:
        far.send(b"last words")
        assert not lifeline.is_cut(near)
        far.close()
        assert lifeline.is_cut(near)
        assert near.recv(100) == b"last words"


def test_a_process_whose_main_thread_hangs_ends_with_its_connection() -> None:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with far:
        process = subprocess.Popen(
            [sys.executable, "-c", _HANGING, str(far.fileno())], pass_fds=[far.fileno()], stdout=subprocess.PIPE
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2 * lifeline.FEED_S)
        near.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
