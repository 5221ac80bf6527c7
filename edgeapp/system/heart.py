"""A worker's heart: the sign that it progresses."""

from __future__ import annotations

import time
from collections.abc import Callable


class Heart:
    """One worker's sign of progress; `limit_s` is how long it may go without."""

    def __init__(self, name: str, limit_s: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.limit_s = limit_s
        self._monotonic_s = monotonic_s
        self._beaten_s = monotonic_s()

    def beat(self) -> None:
        self._beaten_s = self._monotonic_s()

    def is_beating(self) -> bool:
        return self._monotonic_s() - self._beaten_s <= self.limit_s
