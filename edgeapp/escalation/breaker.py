"""The circuit breaker towards the endpoint: after some failures it gets no crop until it has shown to be well; pure.

Owns the states as a table. A probe is a question without a crop, asked on a fixed schedule whatever passes the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_FAILURES = 3


class State(StrEnum):
    """Whether crops are sent."""

    CLOSED = "closed"  # they are
    OPEN = "open"  # none is
    TRYING = "trying"  # one is, and decides


class Event(StrEnum):
    """What the endpoint did."""

    ANSWERED = "answered"  # a usable answer to a crop
    FAILED = "failed"  # none, or an unusable one
    WELL = "well"  # a probe came back
    UNWELL = "unwell"  # a probe did not


# FAILED in CLOSED opens it only the third time in a row.
STEPS = {
    (State.CLOSED, Event.ANSWERED): State.CLOSED,
    (State.CLOSED, Event.FAILED): State.OPEN,
    (State.CLOSED, Event.WELL): State.CLOSED,
    (State.CLOSED, Event.UNWELL): State.OPEN,
    (State.OPEN, Event.WELL): State.TRYING,
    (State.OPEN, Event.UNWELL): State.OPEN,
    (State.TRYING, Event.ANSWERED): State.CLOSED,
    (State.TRYING, Event.FAILED): State.OPEN,
    (State.TRYING, Event.WELL): State.TRYING,
    (State.TRYING, Event.UNWELL): State.OPEN,
}


@dataclass(frozen=True, slots=True)
class Breaker:
    """A state and the failures in a row. It begins open: the first probe says whether anything is there."""

    state: State = State.OPEN
    failures: int = 0

    @property
    def lets_through(self) -> bool:
        return self.state is not State.OPEN

    def after(self, event: Event) -> Breaker:
        """The breaker after what the endpoint did.

        Raises:
            KeyError: a crop was sent although it was open.
        """
        state = STEPS[self.state, event]
        if event is Event.ANSWERED:
            return Breaker(state)
        if event is not Event.FAILED:
            return Breaker(state, self.failures)
        failures = self.failures + 1
        if self.state is State.CLOSED and failures < MAX_FAILURES:
            return Breaker(State.CLOSED, failures)
        return Breaker(state, failures)
