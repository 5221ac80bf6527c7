"""Published messages on their way from MQTT to the installer, and those to be judged again later.

`put` is called from the publisher's thread, for every message that a broker sends: it never waits and never raises.
Beyond `_MAX_WAITING` messages the oldest are dropped. That loses no command for good: they are retained, so the broker
sends the newest ones again at the next connect.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from contextlib import suppress

from edgeapp.document import JSON_MAX_BYTES

_MAX_WAITING = 16
_MAX_LATER = 4


class Inbox:
    """Filled by one thread, emptied by another."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._later: dict[str, tuple[float, bytes]] = {}  # by digest: when it is due, and the message
        self._has_news = threading.Event()

    def put(self, content: bytes) -> None:
        """A message has come. One that is too long to be a command is cut, so that it is refused as what it is."""
        self._waiting.append(content[: JSON_MAX_BYTES + 1])
        self._has_news.set()

    def wake(self) -> None:
        """Let `wait` return."""
        self._has_news.set()

    def wait(self, timeout_s: float) -> None:
        """Until there is something new, at most so long."""
        self._has_news.wait(timeout_s)
        self._has_news.clear()

    def take(self, now_s: float) -> bytes | None:
        """The oldest message, or one that is due again; None where there is none."""
        with suppress(IndexError):
            return self._waiting.popleft()
        for digest, (due_s, content) in self._later.items():
            if now_s >= due_s:
                del self._later[digest]
                return content
        return None

    def keep(self, content: bytes, due_s: float) -> None:
        """Give a message again at `due_s`. Beyond a few, the one that is due first makes room."""
        self._later[hashlib.sha256(content).hexdigest()] = (due_s, content)
        if len(self._later) > _MAX_LATER:
            del self._later[min(self._later, key=lambda digest: self._later[digest][0])]
