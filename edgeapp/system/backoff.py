"""How long to wait before the next attempt.

Owns the rule alone: exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS, 2015).
Leaves the waiting, and the decision that an attempt has failed, to the caller. Guarantees that the first delay is at
most `first_s`, that no delay exceeds `max_s`, and that a fleet that failed together does not come back together.
"""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Delays of uniform(0, min(max_s, first_s · 2^n)) for the n-th attempt since the last `reset`, n from 0."""

    def __init__(self, first_s: float, max_s: float, random: Callable[[], float]) -> None:
        """`random` gives numbers in [0, 1), as `random.random` does."""
        self._first_s = min(first_s, max_s)
        self._max_s = max_s
        self._random = random
        self._ceiling_s = self._first_s

    def next_s(self) -> float:
        """The seconds to wait before the next attempt; every call widens the range of the one after it."""
        delay_s = self._random() * self._ceiling_s
        # Doubling what is already capped cannot overflow, however many years the attempts go on; 2**n could.
        self._ceiling_s = min(self._max_s, self._ceiling_s * 2)
        return delay_s

    def reset(self) -> None:
        """Start over: the last attempt has proved good."""
        self._ceiling_s = self._first_s
