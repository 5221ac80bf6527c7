"""What ends vision when control lets go of it, and lets systemd end it when it can no longer do that itself.

Owns a thread that does nothing but watch the connection and feed systemd's watchdog. Control judges vision and, once
it is lost, closes the connection; then this thread ends the process, whatever the other threads hang in. Where not
even this thread runs (a library holds the interpreter lock, the process is stopped), the watchdog gets no more food.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from edgeapp.system import notify

FEED_S = 0.5
_GRACE_S = 0.5  # who reads the connection sees its end too, and may close the camera in order


def hold(connection: socket.socket) -> None:
    """Start the thread for this connection."""
    threading.Thread(target=_watch, args=(connection,), name="lifeline", daemon=True).start()


def is_cut(connection: socket.socket, wait_s: float = 0.0) -> bool:
    """Whether the other side has closed the connection, or does so within `wait_s`. Reads nothing."""
    poller = select.poll()
    poller.register(connection, select.POLLRDHUP)
    return bool(poller.poll(wait_s * 1e3))


def _watch(connection: socket.socket) -> None:
    while not is_cut(connection, FEED_S):
        notify.notify("WATCHDOG=1")
    time.sleep(_GRACE_S)
    os._exit(0)
