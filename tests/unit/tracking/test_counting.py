"""What is counted of a track: presence, coming and going, crossings in both directions, dwell."""

from __future__ import annotations

import random
from collections import Counter as Multiset

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.config import CountingConfig, LineConfig, TrackingConfig, ZoneConfig
from edgeapp.tracking.counting import Counter
from edgeapp.tracking.tracker import Track, Tracker, TrackUpdate
from edgeapp.types import (
    BACKWARD,
    CONFIDENCE,
    CONFIDENCE_EDGES,
    CROSSINGS,
    DWELL,
    DWELL_EDGES_S,
    ENTERED,
    FORWARD,
    LEFT,
    PRESENCE,
    Box,
    Cell,
    Detection,
    Event,
    Observation,
    Prediction,
)
from tests.fakes import scene as scenes
from tests.fakes.scene import truth_of
from tests.fakes.tracking_lab import play

SECOND_NS = 1_000_000_000
HEIGHT = 0.4
# Upwards at x = 0.5: from left to right in the picture is forward.
LINE = LineConfig(name="door", start=(0.5, 1.0), end=(0.5, 0.0))
ZONE = ZoneConfig(name="shelf", polygon=((0.6, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0)))
CONFIG = CountingConfig(lines=(LINE,), zones=(ZONE,))
Tally = Multiset[tuple[str, Cell]]


def box_at(x: float, y: float = 0.8) -> Box:
    return Box(x - 0.05, y - HEIGHT, x + 0.05, y)


def seen(x: float, track_id: int = 1, name: str = "person") -> Observation:
    return Observation(track_id, name, box_at(x), 0.9, 1.0)


def track(x: float, track_id: int = 1, name: str = "person", first_ns: int = 0) -> Track:
    return Track(track_id, name, first_ns, box_at(x), first_ns, box_at(x), 0.9)


class Tallying:
    """A counter, and how often each of its events happened since the last take."""

    def __init__(self, config: CountingConfig) -> None:
        self._counter = Counter(config)
        self._tally: Tally = Multiset()
        self.reconfigure = self._counter.reconfigure

    def update(self, update: TrackUpdate, now_ns: int) -> None:
        self._tally.update((event.family, event.cell) for event in self._counter.update(update, now_ns))

    def take(self) -> Tally:
        tally, self._tally = self._tally, Multiset()
        return tally


def follow(counter: Tallying, xs: list[float], *, step_ns: int = SECOND_NS // 10, leaves: bool = True) -> None:
    """One track goes over these positions, one each step, entering with the first."""
    for i, x in enumerate(xs):
        entered = (track(xs[0]),) if i == 0 else ()
        counter.update(TrackUpdate((seen(x),), entered), i * step_ns)
    if leaves:
        counter.update(TrackUpdate(left=(track(xs[-1]),)), len(xs) * step_ns)


def crossings(tally: Tally) -> tuple[int, int]:
    return tally[CROSSINGS, ("door", "person", FORWARD)], tally[CROSSINGS, ("door", "person", BACKWARD)]


def dwell(tally: Tally) -> list[int]:
    """The bins of the shelf."""
    return [tally[DWELL, ("shelf", str(number))] for number in range(len(DWELL_EDGES_S) + 1)]


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        ([0.2, 0.4, 0.6, 0.8], (1, 0)),
        ([0.8, 0.6, 0.4, 0.2], (0, 1)),
        ([0.2, 0.8, 0.2, 0.8], (2, 1)),
        ([0.2, 0.5, 0.8], (1, 0)),
        ([0.2, 0.5, 0.2], (0, 0)),
        ([0.5, 0.5, 0.8], (0, 0)),
        ([0.2, 0.4, 0.49], (0, 0)),
    ],
    ids=["left to right", "right to left", "to and fro", "halt on it", "turn on it", "start on it", "stay before it"],
)
def test_a_crossing_is_counted_in_its_direction(xs: list[float], expected: tuple[int, int]) -> None:
    counter = Tallying(CONFIG)
    follow(counter, xs)
    assert crossings(counter.take()) == expected


def test_a_step_around_the_lines_end_is_no_crossing() -> None:
    short = LineConfig(name="door", start=(0.5, 0.7), end=(0.5, 0.0))
    counter = Tallying(CountingConfig(lines=(short,)))
    follow(counter, [0.2, 0.4, 0.6, 0.8])
    assert crossings(counter.take()) == (0, 0)


@pytest.mark.parametrize(("ends_at", "expected"), [(0.2, (0, 0)), (0.8, (1, 0))])
def test_who_jitters_on_the_line_for_long_counts_only_by_where_they_go(
    ends_at: float, expected: tuple[int, int]
) -> None:
    rng = random.Random(1)
    on_the_line = [0.5 + rng.gauss(0.0, 0.012) for _ in range(2000)]
    counter = Tallying(CONFIG)
    follow(counter, [0.2, 0.4, *on_the_line, ends_at])
    assert crossings(counter.take()) == expected


def test_a_crossing_waits_until_the_foot_is_a_tenth_of_the_height_away() -> None:
    counter = Tallying(CONFIG)
    follow(counter, [0.4, 0.5 + 0.09 * HEIGHT], leaves=False)
    assert crossings(counter.take()) == (0, 0)
    counter.update(TrackUpdate((seen(0.5 + 0.11 * HEIGHT),)), SECOND_NS)
    assert crossings(counter.take()) == (1, 0)


def test_who_vanishes_just_beyond_the_line_has_crossed() -> None:
    counter = Tallying(CONFIG)
    follow(counter, [0.4, 0.52])
    assert crossings(counter.take()) == (1, 0)


def test_circling_about_the_lines_end_counts_once_at_most() -> None:
    short = LineConfig(name="door", start=(0.5, 0.8), end=(0.5, 0.0))
    counter = Tallying(CountingConfig(lines=(short,)))
    counter.update(TrackUpdate((), (track(0.49),)), 0)
    for i in range(1, 41):
        x, y = ((0.49, 0.79), (0.51, 0.79), (0.51, 0.81), (0.49, 0.81))[i % 4]
        counter.update(TrackUpdate((Observation(1, "person", box_at(x, y), 0.9, 1.0),)), i * SECOND_NS // 10)
    counter.update(TrackUpdate(left=(track(0.49),)), 5 * SECOND_NS)
    assert sum(crossings(counter.take())) <= 1


def test_the_way_begins_with_the_first_detection_not_with_the_confirmation() -> None:
    counter = Tallying(CONFIG)
    counter.update(TrackUpdate((seen(0.7),), (track(0.3),)), 2 * SECOND_NS)
    assert crossings(counter.take()) == (1, 0)


def test_every_track_of_a_frame_is_present_once_in_it_also_where_it_is_hidden() -> None:
    counter = Counter(CONFIG)
    entered = (track(0.1, 1), track(0.2, 2), track(0.9, 9, "bicycle"))
    for update in (
        TrackUpdate((seen(0.1, 1), seen(0.2, 2), seen(0.9, 9, "bicycle")), entered),
        TrackUpdate((seen(0.1),)),
    ):
        present = [(event.cell, event.track_id) for event in counter.update(update, 0) if event.family == PRESENCE]
        assert present == [((one.class_name,), one.track_id) for one in update.observations]


def test_a_tracks_first_event_is_entered_and_its_last_is_left_with_the_confidence_before_it() -> None:
    counter = Counter(CONFIG)
    events = counter.update(TrackUpdate((seen(0.8),), (track(0.8),)), 0)
    events += counter.update(TrackUpdate(left=(track(0.8),)), SECOND_NS)
    assert [(event.family, event.cell) for event in events] == [
        (ENTERED, ("person",)),
        (PRESENCE, ("person",)),
        (DWELL, ("shelf", "0")),
        (CONFIDENCE, ("5",)),
        (LEFT, ()),
    ]
    assert CONFIDENCE_EDGES[4] == 0.9, "a value on an edge belongs to the bin above it"


def test_the_zone_of_the_longest_stay_comes_first() -> None:
    left_half = ZoneConfig(name="left", polygon=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)))
    counter = Counter(CountingConfig(zones=(ZONE, left_half)))
    for i, x in enumerate([0.8, 0.8, 0.2, 0.2, 0.2, 0.2]):
        counter.update(TrackUpdate((seen(x),), (track(x),) if i == 0 else ()), i * SECOND_NS)
    events = counter.update(TrackUpdate(left=(track(0.2),)), 6 * SECOND_NS)
    assert [event.cell[0] for event in events if event.family == DWELL] == ["left", "shelf"]


@pytest.mark.parametrize(("seconds", "bin_index"), [(1, 0), (2, 1), (4, 1), (5, 2), (59, 4), (1799, 8), (1800, 9)])
def test_dwell_falls_into_the_bin_of_the_whole_time_in_the_zone(seconds: int, bin_index: int) -> None:
    counter = Tallying(CONFIG)
    follow(counter, [0.8] * (seconds + 1), step_ns=SECOND_NS)
    bins = dwell(counter.take())
    assert [i for i, count in enumerate(bins) if count] == [bin_index]
    assert sum(bins) == 1
    assert len(bins) == len(DWELL_EDGES_S) + 1


@pytest.mark.parametrize("xs", [[0.2, 0.8], [0.8, 0.2]], ids=["in", "out"])
def test_a_step_over_the_zones_edge_counts_half_its_time(xs: list[float]) -> None:
    counter = Tallying(CONFIG)
    follow(counter, xs, step_ns=15 * SECOND_NS, leaves=False)
    counter.update(TrackUpdate(left=(track(0.8),)), 15 * SECOND_NS)
    assert dwell(counter.take())[DWELL_EDGES_S.index(5) + 1] == 1


def test_several_visits_of_one_track_are_one_dwell_and_a_stay_outside_is_none() -> None:
    counter = Tallying(CONFIG)
    follow(counter, [0.8] * 5 + [0.2] * 100 + [0.8] * 5, step_ns=SECOND_NS)
    assert dwell(counter.take()) == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    follow(counter, [0.2, 0.3], step_ns=SECOND_NS)
    assert sum(dwell(counter.take())) == 0


def test_dwell_and_a_pending_crossing_outlive_a_take() -> None:
    counter = Tallying(CONFIG)
    follow(counter, [0.45, 0.51], leaves=False)
    assert crossings(counter.take()) == (0, 0)
    for i in range(2, 23):
        counter.update(TrackUpdate((seen(0.8),)), i * SECOND_NS)
        counter.take()
    counter.update(TrackUpdate(left=(track(0.8),)), 23 * SECOND_NS)
    assert dwell(counter.take())[DWELL_EDGES_S.index(30)] == 1


def test_reconfiguring_keeps_the_state_of_what_is_unchanged_and_begins_anew_with_the_rest() -> None:
    counter = Tallying(CONFIG)
    follow(counter, [0.45, 0.51], leaves=False)
    moved = LineConfig(name="gate", start=(0.7, 1.0), end=(0.7, 0.0))
    counter.reconfigure(CountingConfig(lines=(moved, LINE)))
    counter.update(TrackUpdate((seen(0.8),)), 10 * SECOND_NS)
    tally = counter.take()
    assert tally[CROSSINGS, ("gate", "person", FORWARD)] == tally[CROSSINGS, ("door", "person", FORWARD)] == 1
    counter.reconfigure(CountingConfig(zones=(ZONE,)))
    counter.update(TrackUpdate((seen(0.2),)), 11 * SECOND_NS)
    assert set(counter.take()) == {(PRESENCE, ("person",))}


def test_time_that_runs_back_takes_no_dwell_away() -> None:
    counter = Tallying(CONFIG)
    counter.update(TrackUpdate((seen(0.8),), (track(0.8, first_ns=100 * SECOND_NS),)), 106 * SECOND_NS)
    counter.update(TrackUpdate((seen(0.8),)), 0)
    counter.update(TrackUpdate(left=(track(0.8),)), 1)
    assert dwell(counter.take())[2] == 1


BOX = st.builds(box_at, st.floats(0.0, 1.0), st.floats(0.4, 1.0))
FRAME = st.tuples(st.integers(0, 2 * SECOND_NS), st.lists(BOX, max_size=4), st.booleans())


@settings(max_examples=100)
@given(st.lists(FRAME, max_size=30))
def test_whatever_is_seen_each_track_enters_first_leaves_last_and_feeds_confidence_once(
    steps: list[tuple[int, list[Box], bool]],
) -> None:
    tracker, counter = Tracker(TrackingConfig(confirm_frames=1), ("person",)), Counter(CONFIG)
    events: list[Event] = []
    now_ns = 0
    for step_ns, boxes, ends_all in steps:
        now_ns += step_ns
        detections = tuple(Detection(box, 0.9, 0) for box in boxes)
        events += counter.update(tracker.update(Prediction(0, now_ns, now_ns, 20.0, detections)), now_ns)
        if ends_all:
            events += counter.update(tracker.forget_all(), now_ns)
    events += counter.update(tracker.forget_all(), now_ns)
    by_track: dict[int, list[str]] = {}
    for event in events:
        by_track.setdefault(event.track_id, []).append(event.family)
    for families in by_track.values():
        assert (families[0], families[-2:]) == (ENTERED, [CONFIDENCE, LEFT])
        assert all(families.count(once) == 1 for once in (ENTERED, CONFIDENCE, LEFT))
        assert families.count(DWELL) <= 1, "of one zone"


@pytest.mark.parametrize("fps", [2.0, 10.0])
def test_directions_and_dwell_of_clean_scenes_agree_with_the_truth(fps: float) -> None:
    scene = scenes.standing(3)
    run, truth = play(scene, fps, 3), truth_of(scene)
    assert (run.forward, run.backward) == (truth.forward, truth.backward)
    expected = [0] * (len(DWELL_EDGES_S) + 1)
    for seconds in truth.dwell_s:
        expected[sum(seconds >= edge for edge in DWELL_EDGES_S)] += 1
    assert [run.tally[DWELL, ("centre", str(number))] for number in range(len(expected))] == expected
