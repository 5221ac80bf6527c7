"""The windows of each level, aligned to UTC: which is open, when it closes, whether it may be released; pure.

Owns the open window of one level and its counts. Leaves every clock to the caller, and to the ledger what outlives the
daemon. Guarantees, for clocks that do anything at all:
- a window opens and is released only under a synchronised clock;
- of each window index one window is handed out at most, and the indices rise;
- when it closes does not depend on what it counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeapp.telemetry.budget import Level
from edgeapp.telemetry.contributions import Counts
from edgeapp.telemetry.window import window_index

_ENOUGH = 0.5  # of a window, for an orderly stop to release what there is of it


@dataclass(frozen=True, slots=True)
class ClosedWindow:
    """A window to be released. `seconds` is how long it was observed, by the monotonic clock."""

    level: Level
    index: int
    seconds: float
    counts: Counts


class LevelWindow:
    """The open window of one level. There is none while the clock is not synchronised, or has gone back to a time
    whose window is closed."""

    def __init__(self, level: Level) -> None:
        self._level = level
        self._counts: Counts | None = None
        self._index = 0
        self._opened_ns = 0
        self._last_closed: int | None = None

    @property
    def counts(self) -> Counts | None:
        """What the open window has counted, to count on; None where no window is open."""
        return self._counts

    def advance(self, wall_s: float, monotonic_ns: int, *, is_synchronised: bool) -> ClosedWindow | None:
        """Look at the clocks; close the open window once its time is over. Call it at least once a second.

        A window that is over while the clock is not synchronised is forgotten. So is one that has not begun yet: it was
        opened under a clock that was ahead.
        """
        index = window_index(wall_s, self._level.seconds)
        is_new = self._last_closed is None or index > self._last_closed
        closed: ClosedWindow | None = None
        if self._counts is not None and index > self._index and is_synchronised:
            closed = self._close(monotonic_ns)
        elif index > self._index or (index < self._index and is_new):
            self._counts = None
        if self._counts is None and is_synchronised and is_new:
            self._counts, self._index, self._opened_ns = Counts(), index, monotonic_ns
        return closed

    def forget(self) -> None:
        """Forget what the open window has counted; the rest of its time is counted from zero."""
        self._counts = None

    def close_now(self, monotonic_ns: int, *, is_synchronised: bool) -> ClosedWindow | None:
        """Close the open window at an orderly stop.

        If more than half of it was observed, it is handed out now, and the rest of it will be refused after a restart.
        Otherwise it is forgotten, and what a restarted daemon still observes of it is released at its end. Only times
        decide, not counts.
        """
        is_enough = self._observed_s(monotonic_ns) > _ENOUGH * self._level.seconds
        if self._counts is not None and is_enough and is_synchronised:
            return self._close(monotonic_ns)
        self._counts = None
        return None

    def _observed_s(self, monotonic_ns: int) -> float:
        return (monotonic_ns - self._opened_ns) / 1e9

    def _close(self, monotonic_ns: int) -> ClosedWindow | None:
        assert self._counts is not None, "only an open window is closed"
        closed = ClosedWindow(self._level, self._index, self._observed_s(monotonic_ns), self._counts)
        self._counts, self._last_closed = None, self._index
        return closed
