"""A short-lived connection of its own to fetch what the broker retains: blocks of files, consents of sites.

Its own, so that blocks and reports do not delay each other. Client id `<device>-<purpose>`, no last will.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

from edgeapp.config import MqttConfig
from edgeapp.messaging.connection import Connection
from edgeapp.messaging.mqtt import make_waker

_TURN_S = 0.25
_OPEN_S = 30.0


class BlockLink:
    """One connection, open when it is made. All calls come from one thread."""

    def __init__(self, config: MqttConfig, client_id: str, lost: Callable[[str], Exception]) -> None:
        """Connect. `lost` makes the error that is raised when the link is gone.

        Raises:
            Exception: as `lost` makes it: there is no connection.
        """
        self._lost = lost
        self._waker, self._wake_end = make_waker()
        self._received: deque[tuple[str, bytes]] = deque()
        for is_v5 in (True, False):
            self._connection = Connection(
                config,
                client_id=client_id,
                will=None,
                wake=lambda: None,
                is_v5=is_v5,
                on_message=lambda topic, payload: self._received.append((topic, payload)),
            )
            deadline_s = time.monotonic() + _OPEN_S
            while not self._connection.is_open and not self._connection.error and time.monotonic() < deadline_s:
                self._connection.turn(self._waker, _TURN_S)
            if self._connection.is_open:
                return
            if not self._connection.wants_older:
                break
        self.close()
        raise lost(self._connection.error or f"no connection within {_OPEN_S:.0f} s")

    def ask(self, topic: str) -> None:
        """Subscribe: the broker then sends what it retains there."""
        self._connection.subscribe((topic,))

    def unask(self, topic: str) -> None:
        """Unsubscribe."""
        self._connection.unsubscribe(topic)

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        """The next message as (topic, payload); None when there was none in time.

        Raises:
            Exception: as `lost` makes it.
        """
        deadline_s = time.monotonic() + timeout_s
        while not self._received:
            if self._connection.error:
                raise self._lost(self._connection.error)
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return None
            self._connection.turn(self._waker, min(left_s, _TURN_S))
        return self._received.popleft()

    def close(self) -> None:
        """Let go of the link."""
        self._connection.disconnect()
        with closing(self._waker), closing(self._wake_end):
            pass
