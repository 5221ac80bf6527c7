"""The bounds that the noise is made for: what one track, or one event, can change at most."""

from __future__ import annotations

import random
from collections import Counter as Multiset
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.telemetry.budget import LEVELS, Level
from edgeapp.telemetry.contributions import ContributionBound, Counts
from edgeapp.telemetry.levels import LevelWindow
from edgeapp.types import CONFIDENCE, CROSSINGS, DWELL, ENTERED, LEFT, PRESENCE, Cell, Event
from tests.fakes.clock import FakeClock

FAMILIES = (ENTERED, CROSSINGS, PRESENCE, DWELL, CONFIDENCE)
CLASSES = ("person", "bicycle")
FRAMES = 40
Told = dict[Level, Multiset[tuple[int, str, Cell]]]


@dataclass(frozen=True, slots=True)
class Life:
    """One track: in which frames it is there, what it is, and what it does in which frame."""

    first: int
    frames: int
    name: str
    crossings: tuple[tuple[int, str], ...]
    zones: tuple[str, ...]
    confidence: int

    def events(self, track_id: int, frame: int) -> list[Event]:
        """In the order that the counter has."""
        if frame == self.first + self.frames:
            dwells = [Event(DWELL, (zone, "3"), track_id) for zone in self.zones]
            return [*dwells, Event(CONFIDENCE, (str(self.confidence),), track_id), Event(LEFT, (), track_id)]
        if not self.first <= frame < self.first + self.frames:
            return []
        entered = [Event(ENTERED, (self.name,), track_id)] if frame == self.first else []
        crossed = [
            Event(CROSSINGS, (line, self.name, "forward"), track_id)
            for after, line in self.crossings
            if self.first + after == frame
        ]
        return [*entered, Event(PRESENCE, (self.name,), track_id), *crossed]


LIFE = st.builds(
    Life,
    st.integers(0, FRAMES - 2),
    st.integers(1, FRAMES),
    st.sampled_from(CLASSES),
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["door", "gate"])), max_size=4).map(tuple),
    st.sampled_from([(), ("shelf",), ("shelf", "till")]),
    st.integers(0, 9),
)


def live(lives: dict[int, Life], steps_s: list[float]) -> Told:
    """Every window that closes in this world, as exact counts."""
    clock = FakeClock(1_699_950_000.0)
    bound, windows = ContributionBound(), {level: LevelWindow(level) for level in LEVELS}
    told: Told = {level: Multiset() for level in LEVELS}
    for frame, step_s in enumerate([*steps_s, 200_000.0]):
        clock.advance(step_s)
        # The counter tells first who left, then who is there.
        events = [event for track_id, life in lives.items() for event in life.events(track_id, frame)]
        rows = bound.limit(sorted(events, key=lambda event: event.family not in (DWELL, CONFIDENCE, LEFT)))
        for level, window in windows.items():
            closed = window.advance(clock.now_s, clock.monotonic_ns(), is_synchronised=True)
            if closed is not None:
                told[level].update(cells(closed.index, closed.counts))
            assert window.counts is not None
            window.counts.add(rows)
    return told


def cells(index: int, counts: Counts) -> dict[tuple[int, str, Cell], int]:
    every = [(family, (name,)) for family in (ENTERED, PRESENCE) for name in CLASSES]
    every += [(CROSSINGS, (line, name, "forward")) for line in ("door", "gate") for name in CLASSES]
    every += [(DWELL, (zone, "3")) for zone in ("shelf", "till")]
    every += [(CONFIDENCE, (str(number),)) for number in range(10)]
    return {(index, family, cell): counts.of(family, cell) for family, cell in every}


def distances(one: Told, other: Told) -> dict[tuple[str, str], int]:
    """(level, family) → L1 over all cells of all windows."""
    found: Multiset[tuple[str, str]] = Multiset()
    for level in LEVELS:
        for key in one[level].keys() | other[level].keys():
            found[level.name, key[1]] += abs(one[level][key] - other[level][key])
    return found


@settings(max_examples=150)
@given(
    st.lists(LIFE, min_size=1, max_size=8),
    st.lists(st.sampled_from([1.0, 400.0, 1500.0, 30_000.0]), min_size=FRAMES, max_size=FRAMES),
    st.data(),
)
def test_one_track_more_or_less_changes_each_family_of_a_level_by_one_at_most(
    lives: list[Life], steps_s: list[float], data: st.DataObject
) -> None:
    world = dict(enumerate(lives))
    gone = data.draw(st.sampled_from(sorted(world)))
    neighbour = {track_id: life for track_id, life in world.items() if track_id != gone}
    assert max(distances(live(world, steps_s), live(neighbour, steps_s)).values()) <= 1


def test_a_track_that_does_everything_often_feeds_one_cell_of_each_family() -> None:
    busy = Life(3, 30, "person", tuple((after, "door") for after in range(8)), ("shelf", "till"), 9)
    told = live({1: busy}, [400.0] * FRAMES)
    assert distances(told, live({}, [400.0] * FRAMES)) == {
        (level.name, family): 1 for level in LEVELS for family in FAMILIES
    }
    for level in LEVELS:
        assert {key[2] for key in told[level].elements()} == {
            ("person",),
            ("door", "person", "forward"),
            ("shelf", "3"),
            ("9",),
        }


def test_who_stays_over_a_windows_end_is_present_in_the_window_of_entering_alone() -> None:
    stays = Life(0, FRAMES, "person", (), (), 5)
    told = live({1: stays, 2: stays}, [400.0] * FRAMES)
    peaks = [
        (level.name, count) for level in LEVELS for key, count in told[level].items() if key[1] == PRESENCE and count
    ]
    assert sorted(peaks) == [("day", 2), ("hour", 2), ("quarter", 2)]


def test_the_first_tracks_of_a_chunk_count_and_no_others() -> None:
    bound = ContributionBound(max_tracks=2)
    rows = bound.limit([Event(ENTERED, ("person",), track_id) for track_id in range(5)])
    assert [row.track_id for row in rows] == [0, 1]
    assert bound.limit([Event(PRESENCE, ("person",), 4), Event(LEFT, (), 4), Event(CONFIDENCE, ("3",), 3)]) == []
    bound.limit([Event(LEFT, (), 0), Event(LEFT, (), 1)])
    assert bound.limit([Event(ENTERED, ("person",), 6)]) == [], "who left has counted all the same"
    bound.begin_chunk()
    assert len(bound.limit([Event(ENTERED, ("person",), 7)])) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_merged_chunk_adds_sums_and_keeps_the_higher_peak(seed: int) -> None:
    rng = random.Random(seed)
    sizes = [rng.randrange(5) for _ in range(4)]
    window = Counts()
    for number, size in enumerate(sizes):
        chunk = Counts()
        ids = [10 * number + each for each in range(size)]
        chunk.add([Event(ENTERED, ("person",), each) for each in ids] + [Event(PRESENCE, ("person",), i) for i in ids])
        window.merge(chunk)
    assert window.of(ENTERED, ("person",)) == sum(sizes)
    assert window.of(PRESENCE, ("person",)) == max(sizes)
