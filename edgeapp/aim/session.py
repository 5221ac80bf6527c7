"""One aiming: its code, the session of the one browser that gave it, and its end.

Owns the gate's state, from whichever thread it is asked; the rules are `gate.py`'s. Guarantees: a code opens once,
codes and tokens are compared in constant time, and both live in this process's memory only.
"""

from __future__ import annotations

import hmac
import secrets
import threading

from edgeapp.aim.gate import CODE_ALPHABET, CODE_LENGTH, TRANSITIONS, Event, Gate, Phase, plain
from edgeapp.interfaces import Clock

_TOKEN_BYTES = 32


class Session:
    """Made when aiming begins. `ended` is set once it is over, for whatever reason."""

    def __init__(self, clock: Clock, lasts_s: float) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._gate = Gate(ends_s=self._now_s() + lasts_s)
        self._token = secrets.token_urlsafe(_TOKEN_BYTES)
        self.code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
        self.ended = threading.Event()

    def gate(self) -> Gate:
        """How it stands now."""
        with self._lock:
            return self._settle(self._gate.at(self._now_s()))

    def left_s(self) -> float:
        """How long it still lasts at most."""
        return max(0.0, self._gate.ends_s - self._now_s())

    def enter(self, text: str) -> str | None:
        """The token of the session, for the first right code; None for any other."""
        is_right = hmac.compare_digest(plain(text).encode(), self.code.encode())
        with self._lock:
            before = self._gate.at(self._now_s())
            after = self._settle(before.told(is_right=is_right))
        return self._token if before.phase is Phase.WAITING and after.phase is Phase.OPEN else None

    def admits(self, token: str) -> bool:
        """Whether this is the token of the session, and it is not over."""
        is_known = hmac.compare_digest(token.encode(), self._token.encode())
        return is_known and self.gate().phase is Phase.OPEN

    def end(self, event: Event) -> None:
        """End it, where it has not ended yet."""
        with self._lock:
            now = self._gate.at(self._now_s())
            self._settle(now.after(event) if (now.phase, event) in TRANSITIONS else now)

    def _settle(self, gate: Gate) -> Gate:
        self._gate = gate
        if gate.phase is Phase.ENDED:
            self.ended.set()
        return gate

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
