"""Where the pipeline, which has crops, and the client, which has the network, meet.

Owns the waiting crops (memory only, newest first, at most MAX_WAITING: the oldest is dropped for a newer one), the
outcomes on their way back, and the permission, a one-place mailbox that the client writes. No call waits for the other
thread, but for `take`, which is the client's.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from edgeapp.escalation.policy import Spent
from edgeapp.types import UNANSWERED, Box

MAX_WAITING = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """What the client knows of consent, link and hour. Nothing in it depends on who passes the camera.

    The consent holds until `consent_until_s` (Unix seconds; 0: none). `open_hour` is the last hour of UTC whose opening
    is on disk: after it nothing may be asked.
    """

    consent_until_s: float = 0.0
    is_metered: bool = True
    is_endpoint_up: bool = False
    open_hour: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sealed:
    """A crop to be asked about. Late after `due_ns` (CLOCK_MONOTONIC); `box` is where it should be, in the crop."""

    number: int
    class_name: str
    box: Box
    jpeg: bytes
    due_ns: int


class Outbox:
    """Filled by one thread, emptied by another."""

    def __init__(self, spent: Spent) -> None:
        """`spent` is what is spent of the budgets at the start."""
        self.spent = spent
        self.permission = Permission()
        self._waiting: deque[Sealed] = deque()
        self._outcomes: deque[tuple[int, str]] = deque()
        self._changed = threading.Condition()

    def put(self, sealed: Sealed) -> None:
        """A crop to send."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                self._outcomes.append((self._waiting.popleft().number, UNANSWERED))
            self._waiting.append(sealed)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Sealed | None:
        """The newest crop; None where there is none in time."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            return self._waiting.pop() if self._waiting else None

    def drop_all(self) -> None:
        """Nothing that waits may be sent any more."""
        with self._changed:
            self._outcomes.extend((sealed.number, UNANSWERED) for sealed in self._waiting)
            self._waiting.clear()

    def note(self, number: int, outcome: str) -> None:
        """What came of a question."""
        with self._changed:
            self._outcomes.append((number, outcome))

    def take_outcomes(self) -> tuple[tuple[int, str], ...]:
        """What came of questions since the last call, the oldest first."""
        if not self._outcomes:  # without the lock: it is asked with each frame
            return ()
        with self._changed:
            outcomes = tuple(self._outcomes)
            self._outcomes.clear()
        return outcomes
