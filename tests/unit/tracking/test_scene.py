"""The laboratory's own truth: what the other tests rest on."""

from __future__ import annotations

import itertools
from collections import Counter as Multiset

import pytest

from tests.fakes import scene as scenes
from tests.fakes.scene import Faults, Person, Scene, body, frames, overlap, truth_of
from tests.fakes.tracking_lab import FAMILIES, best_assignment, play

RIGHT = Person(((0.0, -0.1, 0.8), (6.0, 1.1, 0.8)))
LOITERER = Person(((0.0, 0.1, 0.8), (2.0, 0.5, 0.8), (7.0, 0.5, 0.8), (9.0, 0.1, 0.8)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_scene_and_its_frames_follow_from_the_seed(name: str) -> None:
    first, second, other = (list(itertools.islice(frames(FAMILIES[name](s), 5, s), 40)) for s in (1, 1, 2))
    assert first == second
    assert first != other


def test_the_truth_of_a_straight_walk_is_one_entry_one_crossing_and_the_time_between_the_zones_edges() -> None:
    truth = truth_of(Scene((RIGHT,), 8.0))
    assert (truth.entered, truth.forward, truth.backward) == (1, 1, 0)
    assert truth.dwell_s == pytest.approx((2.0,), abs=0.05)


def test_the_truth_of_a_return_on_the_line_is_no_net_crossing() -> None:
    truth = truth_of(Scene((LOITERER,), 10.0))
    assert truth.forward == truth.backward
    assert truth.dwell_s == pytest.approx((7.0,), abs=0.05)


@pytest.mark.parametrize("fps", [0.5, 3.0, 25.0])
def test_frames_come_at_the_asked_rate_over_the_whole_scene(fps: float) -> None:
    times = [frame.prediction.captured_ns for frame in frames(Scene((RIGHT,), 8.0), fps, 4)]
    steps = {b - a for a, b in itertools.pairwise(times)}
    assert max(abs(step - 1e9 / fps) for step in steps) <= 1
    assert len(times) == pytest.approx(8.0 * fps, abs=1)


def test_a_faultless_detector_finds_exactly_the_visible() -> None:
    for frame in frames(scenes.crossing(0), 5, 0):
        assert [found.box for found in frame.prediction.detections] == list(frame.visible.values())


def test_a_pillar_hides_who_walks_behind_it_and_only_there() -> None:
    hidden = [f for f in frames(Scene((RIGHT,), 6.0, ((0.25, 0.4, 1.5),)), 20, 0) if not f.visible]
    times = [(frame.prediction.captured_ns - 10**12) / 1e9 for frame in hidden]
    behind = [t for t in times if 1.0 < t < 5.0]
    assert behind
    assert all(0.2 < RIGHT.knots[0][1] + 0.2 * t < 0.45 for t in behind)
    assert 0.5 < max(behind) - min(behind) < 1.2


def test_of_two_at_one_place_the_nearer_hides_the_farther() -> None:
    near = Person(((0.0, 0.5, 0.85), (2.0, 0.5, 0.85)))
    far = Person(((0.0, 0.5, 0.8), (2.0, 0.5, 0.8)))
    assert all(set(frame.visible) == {0} for frame in frames(Scene((near, far), 2.0), 5, 0))


def test_misses_come_at_the_asked_share_and_in_bursts() -> None:
    stay = Person(((0.0, 0.5, 0.8), (2000.0, 0.5, 0.8)))
    faults = Faults(miss=0.2, miss_burst_s=0.5)
    found = [bool(f.prediction.detections) for f in frames(Scene((stay,), 2000.0, (), faults), 10, 0)]
    assert found.count(False) / len(found) == pytest.approx(0.2, abs=0.03)
    again = sum(1 for a, b in itertools.pairwise(found) if not a and not b)
    assert again / found.count(False) > 0.6


def test_false_boxes_come_at_the_asked_rate() -> None:
    counts = [len(f.prediction.detections) for f in frames(Scene((), 2000.0, (), Faults(false_per_frame=0.1)), 5, 0)]
    assert sum(counts) / len(counts) == pytest.approx(0.1, abs=0.02)


def test_merging_encloses_both() -> None:
    one = Person(((0.0, 0.45, 0.8), (2.0, 0.45, 0.8)))
    two = Person(((0.0, 0.49, 0.8), (2.0, 0.49, 0.8)))
    assert overlap(body((0.45, 0.8)), body((0.49, 0.8))) > 0.4
    for frame in frames(Scene((one, two), 2.0, (), Faults(merge=1.0)), 5, 0):
        (found,) = frame.prediction.detections
        assert (found.box.x_min, found.box.x_max) == (body((0.45, 0.8)).x_min, body((0.49, 0.8)).x_max)


def test_thebest_assignment_beats_the_greedy_one() -> None:
    agreements = Multiset({(0, 10): 10, (0, 11): 9, (1, 10): 9, (2, 12): 1})
    assert best_assignment(agreements) == 19
    assert best_assignment(Multiset()) == 0


def test_the_score_of_a_perfect_walk_is_perfect_but_for_the_frames_before_confirmation() -> None:
    run = play(Scene((Person(((0.0, 0.2, 0.8), (5.0, 0.8, 0.8))),), 4.9), 10, 0)
    assert run.entered_error == run.crossings_error == run.id_switches == 0
    assert run.id_true_positives == run.track_boxes == run.truth_boxes - 2
