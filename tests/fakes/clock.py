"""A clock that stands until it is advanced, and can step, run back and lose its time service."""

from __future__ import annotations


class FakeClock:
    """Wall and monotonic time of a test. Advancing moves both; setting `now_s` steps wall time alone."""

    def __init__(self, wall_s: float, *, synchronised: bool = True) -> None:
        self.now_s = wall_s
        self.synchronised = synchronised
        self._monotonic_ns = 1_000_000_000_000

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def is_synchronised(self) -> bool:
        return self.synchronised

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self._monotonic_ns += round(seconds * 1e9)
