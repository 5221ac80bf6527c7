"""What is counted of a track: presence, coming and going, crossings in both directions, dwell."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.config import CountingConfig, LineConfig, TrackingConfig, ZoneConfig
from edgeapp.tracking.counting import Counter, Tally
from edgeapp.tracking.tracker import Track, Tracker, TrackUpdate
from edgeapp.types import BACKWARD, DWELL_EDGES_S, FORWARD, Box, Detection, Observation, Prediction
from tests.fakes import scene as scenes
from tests.fakes.scene import truth_of
from tests.fakes.tracking_lab import play

SECOND_NS = 1_000_000_000
HEIGHT = 0.4
# Upwards at x = 0.5: from left to right in the picture is forward.
LINE = LineConfig(name="door", start=(0.5, 1.0), end=(0.5, 0.0))
ZONE = ZoneConfig(name="shelf", polygon=((0.6, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0)))
CONFIG = CountingConfig(lines=(LINE,), zones=(ZONE,))


def box_at(x: float, y: float = 0.8) -> Box:
    return Box(x - 0.05, y - HEIGHT, x + 0.05, y)


def seen(x: float, track_id: int = 1, name: str = "person") -> Observation:
    return Observation(track_id, name, box_at(x), 0.9, 1.0)


def track(x: float, track_id: int = 1, name: str = "person", first_ns: int = 0) -> Track:
    return Track(track_id, name, first_ns, box_at(x), first_ns, box_at(x))


def follow(counter: Counter, xs: list[float], *, step_ns: int = SECOND_NS // 10, leaves: bool = True) -> None:
    """One track goes over these positions, one each step, entering with the first."""
    for i, x in enumerate(xs):
        entered = (track(xs[0]),) if i == 0 else ()
        counter.update(TrackUpdate((seen(x),), entered), i * step_ns)
    if leaves:
        counter.update(TrackUpdate(left=(track(xs[-1]),)), len(xs) * step_ns)


def crossings(tally: Tally) -> tuple[int, int]:
    return tally.crossings.get(("door", "person", FORWARD), 0), tally.crossings.get(("door", "person", BACKWARD), 0)


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
    counter = Counter(CONFIG)
    follow(counter, xs)
    assert crossings(counter.take()) == expected


def test_a_step_around_the_lines_end_is_no_crossing() -> None:
    short = LineConfig(name="door", start=(0.5, 0.7), end=(0.5, 0.0))
    counter = Counter(CountingConfig(lines=(short,)))
    follow(counter, [0.2, 0.4, 0.6, 0.8])
    assert crossings(counter.take()) == (0, 0)


@pytest.mark.parametrize(("ends_at", "expected"), [(0.2, (0, 0)), (0.8, (1, 0))])
def test_who_jitters_on_the_line_for_long_counts_only_by_where_they_go(
    ends_at: float, expected: tuple[int, int]
) -> None:
    rng = random.Random(1)
    on_the_line = [0.5 + rng.gauss(0.0, 0.012) for _ in range(2000)]
    counter = Counter(CONFIG)
    follow(counter, [0.2, 0.4, *on_the_line, ends_at])
    assert crossings(counter.take()) == expected


def test_a_crossing_waits_until_the_foot_is_a_tenth_of_the_height_away() -> None:
    counter = Counter(CONFIG)
    follow(counter, [0.4, 0.5 + 0.09 * HEIGHT], leaves=False)
    assert crossings(counter.take()) == (0, 0)
    counter.update(TrackUpdate((seen(0.5 + 0.11 * HEIGHT),)), SECOND_NS)
    assert crossings(counter.take()) == (1, 0)


def test_who_vanishes_just_beyond_the_line_has_crossed() -> None:
    counter = Counter(CONFIG)
    follow(counter, [0.4, 0.52])
    assert crossings(counter.take()) == (1, 0)


def test_circling_about_the_lines_end_counts_once_at_most() -> None:
    short = LineConfig(name="door", start=(0.5, 0.8), end=(0.5, 0.0))
    counter = Counter(CountingConfig(lines=(short,)))
    counter.update(TrackUpdate((), (track(0.49),)), 0)
    for i in range(1, 41):
        x, y = ((0.49, 0.79), (0.51, 0.79), (0.51, 0.81), (0.49, 0.81))[i % 4]
        counter.update(TrackUpdate((Observation(1, "person", box_at(x, y), 0.9, 1.0),)), i * SECOND_NS // 10)
    counter.update(TrackUpdate(left=(track(0.49),)), 5 * SECOND_NS)
    assert sum(crossings(counter.take())) <= 1


def test_the_way_begins_with_the_first_detection_not_with_the_confirmation() -> None:
    counter = Counter(CONFIG)
    counter.update(TrackUpdate((seen(0.7),), (track(0.3),)), 2 * SECOND_NS)
    assert crossings(counter.take()) == (1, 0)


def test_present_is_the_most_in_one_frame_and_carries_over_a_take() -> None:
    counter = Counter(CONFIG)
    three = (seen(0.0, 0), seen(0.1, 1), seen(0.2, 2), seen(0.9, 9, "bicycle"))
    counter.update(TrackUpdate(three), 0)
    counter.update(TrackUpdate(three[:1]), 1)
    assert counter.take().present_max == {"person": 3, "bicycle": 1}
    assert counter.take().present_max == {"person": 1}


def test_entered_and_left_are_per_class_and_taken_once() -> None:
    counter = Counter(CONFIG)
    counter.update(TrackUpdate((), (track(0.1, 1), track(0.2, 2), track(0.3, 3, "bicycle"))), 0)
    counter.update(TrackUpdate(left=(track(0.1, 1),)), 1)
    tally = counter.take()
    assert (tally.entered, tally.left) == ({"person": 2, "bicycle": 1}, {"person": 1})
    again = counter.take()
    assert (again.entered, again.left, again.crossings) == ({}, {}, {})


@pytest.mark.parametrize(("seconds", "bin_index"), [(1, 0), (2, 1), (4, 1), (5, 2), (59, 4), (1799, 8), (1800, 9)])
def test_dwell_falls_into_the_bin_of_the_whole_time_in_the_zone(seconds: int, bin_index: int) -> None:
    counter = Counter(CONFIG)
    follow(counter, [0.8] * (seconds + 1), step_ns=SECOND_NS)
    bins = counter.take().dwell["shelf"]
    assert [i for i, count in enumerate(bins) if count] == [bin_index]
    assert sum(bins) == 1
    assert len(bins) == len(DWELL_EDGES_S) + 1


@pytest.mark.parametrize("xs", [[0.2, 0.8], [0.8, 0.2]], ids=["in", "out"])
def test_a_step_over_the_zones_edge_counts_half_its_time(xs: list[float]) -> None:
    counter = Counter(CONFIG)
    follow(counter, xs, step_ns=15 * SECOND_NS, leaves=False)
    counter.update(TrackUpdate(left=(track(0.8),)), 15 * SECOND_NS)
    assert counter.take().dwell["shelf"][DWELL_EDGES_S.index(5) + 1] == 1


def test_several_visits_of_one_track_are_one_dwell_and_a_stay_outside_is_none() -> None:
    counter = Counter(CONFIG)
    follow(counter, [0.8] * 5 + [0.2] * 100 + [0.8] * 5, step_ns=SECOND_NS)
    assert counter.take().dwell["shelf"] == (0, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    follow(counter, [0.2, 0.3], step_ns=SECOND_NS)
    assert sum(counter.take().dwell["shelf"]) == 0


def test_dwell_and_a_pending_crossing_outlive_a_take() -> None:
    counter = Counter(CONFIG)
    follow(counter, [0.45, 0.51], leaves=False)
    assert crossings(counter.take()) == (0, 0)
    for i in range(2, 23):
        counter.update(TrackUpdate((seen(0.8),)), i * SECOND_NS)
        counter.take()
    counter.update(TrackUpdate(left=(track(0.8),)), 23 * SECOND_NS)
    assert counter.take().dwell["shelf"][DWELL_EDGES_S.index(30)] == 1


def test_reconfiguring_keeps_the_state_of_what_is_unchanged_and_begins_anew_with_the_rest() -> None:
    counter = Counter(CONFIG)
    follow(counter, [0.45, 0.51], leaves=False)
    moved = LineConfig(name="gate", start=(0.7, 1.0), end=(0.7, 0.0))
    counter.reconfigure(CountingConfig(lines=(moved, LINE)))
    counter.update(TrackUpdate((seen(0.8),)), 10 * SECOND_NS)
    tally = counter.take()
    assert tally.crossings == {("gate", "person", FORWARD): 1, ("door", "person", FORWARD): 1}
    assert tally.dwell == {}
    counter.reconfigure(CountingConfig(zones=(ZONE,)))
    counter.update(TrackUpdate((seen(0.2),)), 11 * SECOND_NS)
    tally = counter.take()
    assert tally.crossings == {}
    assert tally.dwell == {"shelf": (0,) * 10}


def test_a_track_that_was_open_before_the_counter_is_followed_but_has_not_entered() -> None:
    counter = Counter(CONFIG)
    for i, x in enumerate((0.3, 0.7)):
        counter.update(TrackUpdate((seen(x),)), i)
    tally = counter.take()
    assert (crossings(tally), tally.entered) == ((1, 0), {})


def test_time_that_runs_back_takes_no_dwell_away() -> None:
    counter = Counter(CONFIG)
    counter.update(TrackUpdate((seen(0.8),), (track(0.8, first_ns=100 * SECOND_NS),)), 106 * SECOND_NS)
    counter.update(TrackUpdate((seen(0.8),)), 0)
    counter.update(TrackUpdate(left=(track(0.8),)), 1)
    assert counter.take().dwell["shelf"][2] == 1


BOX = st.builds(box_at, st.floats(0.0, 1.0), st.floats(0.4, 1.0))
FRAME = st.tuples(st.integers(0, 2 * SECOND_NS), st.lists(BOX, max_size=4), st.booleans())


@settings(max_examples=100, deadline=None)
@given(st.lists(FRAME, max_size=30))
def test_nothing_is_lost_or_counted_twice_however_the_tally_is_taken(
    steps: list[tuple[int, list[Box], bool]],
) -> None:
    tracker = Tracker(TrackingConfig(confirm_frames=1), ("person",))
    often, once = Counter(CONFIG), Counter(CONFIG)
    tallies: list[Tally] = []
    open_tracks = now_ns = 0
    for step_ns, boxes, takes in steps:
        now_ns += step_ns
        detections = tuple(Detection(box, 0.9, 0) for box in boxes)
        update = tracker.update(Prediction(0, now_ns, now_ns, 20.0, detections))
        often.update(update, now_ns)
        once.update(update, now_ns)
        open_tracks += len(update.entered) - len(update.left)
        assert len(update.observations) == open_tracks
        if takes:
            tallies.append(often.take())
    end = tracker.forget_all()
    often.update(end, now_ns)
    once.update(end, now_ns)
    tallies.append(often.take())
    whole = once.take()
    assert sum(tally.entered.get("person", 0) for tally in tallies) == whole.entered.get("person", 0)
    assert whole.entered == whole.left
    assert sum(sum(crossings(tally)) for tally in tallies) == sum(crossings(whole))
    assert [sum(column) for column in zip(*(t.dwell["shelf"] for t in tallies), strict=True)] == list(
        whole.dwell["shelf"]
    )
    assert max(tally.present_max.get("person", 0) for tally in tallies) == whole.present_max.get("person", 0)


@pytest.mark.parametrize("fps", [2.0, 10.0])
def test_directions_and_dwell_of_clean_scenes_agree_with_the_truth(fps: float) -> None:
    scene = scenes.standing(3)
    run, truth = play(scene, fps, 3), truth_of(scene)
    assert (run.forward, run.backward) == (truth.forward, truth.backward)
    expected = [0] * (len(DWELL_EDGES_S) + 1)
    for seconds in truth.dwell_s:
        expected[sum(seconds >= edge for edge in DWELL_EDGES_S)] += 1
    assert list(run.tally.dwell["centre"]) == expected
