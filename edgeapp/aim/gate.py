"""Who may look, and for how long: the rules, pure.

Owns the states of one aiming and what an entered code does to them. Making and comparing codes, the lock and the clock
are `session.py`'s.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

CODE_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that is read for something else: 0 o, 1 i l
CODE_LENGTH = 8  # 31**8: five guesses hit it once in 170 thousand million times
MAX_WRONG_CODES = 5
_GROUP = 4


class Phase(StrEnum):
    """How far an aiming has come."""

    WAITING = "waiting"  # for the code
    OPEN = "open"  # for the one browser that gave it
    ENDED = "ended"


class Event(StrEnum):
    """What happens to an aiming."""

    RIGHT_CODE = "right code"
    WRONG_CODES = "too many wrong codes"
    TIME_UP = "its time is over"
    DONE = "done"
    SERVICE = "the service was started"
    INTERRUPTED = "interrupted"


TRANSITIONS = {
    (Phase.WAITING, Event.RIGHT_CODE): Phase.OPEN,
    (Phase.WAITING, Event.WRONG_CODES): Phase.ENDED,
    (Phase.WAITING, Event.TIME_UP): Phase.ENDED,
    (Phase.WAITING, Event.SERVICE): Phase.ENDED,
    (Phase.WAITING, Event.INTERRUPTED): Phase.ENDED,
    (Phase.OPEN, Event.DONE): Phase.ENDED,
    (Phase.OPEN, Event.TIME_UP): Phase.ENDED,
    (Phase.OPEN, Event.SERVICE): Phase.ENDED,
    (Phase.OPEN, Event.INTERRUPTED): Phase.ENDED,
}


@dataclass(frozen=True, slots=True)
class Gate:
    """One aiming at one moment. `ends_s` is on the monotonic clock; `ended_by` says why it ended."""

    ends_s: float
    phase: Phase = Phase.WAITING
    wrong_codes: int = 0
    ended_by: Event | None = None

    def after(self, event: Event) -> Gate:
        """
        Raises:
            KeyError: this cannot happen to it now.
        """
        phase = TRANSITIONS[self.phase, event]
        return dataclasses.replace(self, phase=phase, ended_by=event if phase is Phase.ENDED else None)

    def at(self, now_s: float) -> Gate:
        """It at the time `now_s`, when its own time may be over."""
        is_over = self.phase is not Phase.ENDED and now_s >= self.ends_s
        return self.after(Event.TIME_UP) if is_over else self

    def told(self, *, is_right: bool) -> Gate:
        """After somebody entered a code. Wrong ones count only while a right one would open."""
        if self.phase is not Phase.WAITING:
            return self
        if is_right:
            return self.after(Event.RIGHT_CODE)
        counted = dataclasses.replace(self, wrong_codes=self.wrong_codes + 1)
        return counted.after(Event.WRONG_CODES) if counted.wrong_codes >= MAX_WRONG_CODES else counted


def spelled(code: str) -> str:
    """A code as a person reads it: in groups."""
    return "-".join(code[at : at + _GROUP] for at in range(0, len(code), _GROUP))


def plain(entered: str) -> str:
    """What a person typed, without what does not matter: capitals, spaces, dashes."""
    return "".join(letter for letter in entered.lower() if letter in CODE_ALPHABET)
