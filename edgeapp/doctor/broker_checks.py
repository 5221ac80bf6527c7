"""The check of the broker, thin as those in `checks.py`."""

from __future__ import annotations

import secrets
import socket
import time

from edgeapp.config import Config
from edgeapp.doctor import judge_broker
from edgeapp.doctor.report import Judgement
from edgeapp.messaging.connection import Connection

_TURN_S = 0.1


def check_broker(config: Config, limit_s: float) -> Judgement:
    """Connects as a client of its own, without a last will: a running device is neither thrown out nor spoken for."""
    began_s = time.monotonic()
    client_id = f"{config.device.id}-doctor-{secrets.token_hex(4)}"
    waker, wakes = socket.socketpair()
    with waker, wakes:
        waker.setblocking(False)
        wakes.setblocking(False)
        for is_v5 in (True, False):
            connection = Connection(config.mqtt, client_id=client_id, will=None, wake=lambda: _wake(wakes), is_v5=is_v5)
            while not connection.is_open and not connection.error and time.monotonic() < began_s + limit_s:
                connection.turn(waker, _TURN_S)
            if not connection.wants_older:
                break
            connection.drop("called again with the older version")
        took_ms = (time.monotonic() - began_s) * 1000
        error = "" if connection.is_open else connection.error or f"no answer within {limit_s:g} s"
        connection.disconnect()
    return judge_broker.broker(f"{config.mqtt.host}:{config.mqtt.port}", error, took_ms, way=connection.way)


def _wake(link: socket.socket) -> None:
    try:
        link.send(b"w")
    except OSError:
        return  # the check was given up; nobody waits any more
