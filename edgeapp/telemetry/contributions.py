"""What each track may contribute to the counts, and the counts of one window; pure.

Owns the bounds on which every guarantee rests; the noise is made for exactly these (`budget.sensitivity`). Leaves to
`tracking/counting.py` what happened, to `levels.py` which window is open.

Guarantees, over all windows of one level together:
- a track feeds at most one cell of each family, once;
- it counts as present only in the window that it entered in, so it raises one peak there, by one at most;
- with a chunk's limit, only the chunk's first tracks count at all.
docs/decisions/0010 has the argument from these to the sensitivities.
"""

from __future__ import annotations

from collections import Counter as Multiset
from collections.abc import Iterable

from edgeapp.types import ENTERED, LEFT, PRESENCE, Cell, Event


class ContributionBound:
    """Lets through the events that may count. It remembers of each open track which families it has fed."""

    def __init__(self, max_tracks: int | None = None) -> None:
        """`max_tracks`: only so many tracks, the first ones, count until `begin_chunk`; None for no limit."""
        self._max_tracks = max_tracks
        self._fed: dict[int, set[str]] = {}
        self._taken = 0

    def begin_chunk(self) -> None:
        """Another `max_tracks` tracks may count. Every track must have left before."""
        self._taken = 0

    def counts(self, track_id: int) -> bool:
        """Whether an open track is one of those that count."""
        return track_id in self._fed

    def limit(self, events: Iterable[Event]) -> list[Event]:
        """Those of one frame's events that count."""
        rows: list[Event] = []
        for event in events:
            if event.family == ENTERED and (self._max_tracks is None or self._taken < self._max_tracks):
                self._fed[event.track_id] = set()
                self._taken += 1
            fed = self._fed.get(event.track_id)
            if fed is None or event.family in fed:
                continue
            rows.append(event)
            if event.family == LEFT:
                del self._fed[event.track_id]
            elif event.family != PRESENCE:  # told anew in each frame; a window keeps only the peak
                fed.add(event.family)
        return rows


class Counts:
    """The exact counts of one window, or of one chunk. They never leave this memory but through `release.py`."""

    def __init__(self) -> None:
        self._cells: Multiset[tuple[str, Cell]] = Multiset()
        self._entered_here: set[int] = set()

    def of(self, family: str, cell: Cell) -> int:
        """The exact count of a cell."""
        return self._cells[family, cell]

    def add(self, rows: Iterable[Event]) -> None:
        """Count the rows of one frame."""
        present: Multiset[Cell] = Multiset()
        for row in rows:
            if row.family == PRESENCE:
                present[row.cell] += row.track_id in self._entered_here
            elif row.family == LEFT:
                self._entered_here.discard(row.track_id)
            else:
                self._cells[row.family, row.cell] += 1
                if row.family == ENTERED:
                    self._entered_here.add(row.track_id)
        for cell, tracks in present.items():
            self._raise_peak(cell, tracks)

    def merge(self, chunk: Counts) -> None:
        """Count a whole chunk: sums, and the higher of two peaks."""
        for (family, cell), count in chunk._cells.items():
            if family == PRESENCE:
                self._raise_peak(cell, count)
            else:
                self._cells[family, cell] += count

    def _raise_peak(self, cell: Cell, tracks: int) -> None:
        self._cells[PRESENCE, cell] = max(self._cells[PRESENCE, cell], tracks)
