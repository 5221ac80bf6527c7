"""Who passes, counted and released: the whole way from predictions to releases, with the noise set to 0."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter as Multiset
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp import census
from edgeapp.census import Census
from edgeapp.config import (
    CameraConfig,
    Config,
    CountingConfig,
    DeviceConfig,
    InferenceConfig,
    LineConfig,
    MqttConfig,
    PrivacyConfig,
    SharesConfig,
    TrackingConfig,
    ZoneConfig,
)
from edgeapp.telemetry import noise
from edgeapp.telemetry.budget import LEVELS, sensitivity
from edgeapp.telemetry.release import Release
from edgeapp.types import CONFIDENCE, CROSSINGS, DWELL, ENTERED, FORWARD, PRESENCE, Box, Cell, Detection, Prediction
from tests.fakes.clock import FakeClock

NOON_S = 1_699_963_200.0
CLASSES = ("person", "bicycle")
PERSON = ("person",)
COUNTING = CountingConfig(
    lines=(LineConfig(name="door", start=(0.5, 1.0), end=(0.5, 0.0)),),
    zones=(ZoneConfig(name="right", polygon=((0.5, 0), (1, 0), (1, 1), (0.5, 1))),),
)
TRACK = PrivacyConfig(shares=SharesConfig(presence=1.0))
Boxes = list[tuple[int, float, float]]  # class, x and y of the foot
Told = Multiset[tuple[str, int, str, Cell]]


@pytest.fixture(autouse=True)
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "discrete_laplace", lambda scale: 0)


def config(privacy: PrivacyConfig = TRACK, **tracking: float) -> Config:
    return Config(
        device=DeviceConfig(id="test"),
        camera=CameraConfig(kind="video", source="none.avi"),
        inference=InferenceConfig(model_dir="none"),
        mqtt=MqttConfig(host="127.0.0.1"),
        tracking=TrackingConfig(confirm_frames=1, **tracking),  # type: ignore[arg-type]
        counting=COUNTING,
        privacy=privacy,
    )


class Site:
    """A census and its clock, shown one frame a second."""

    def __init__(self, privacy: PrivacyConfig = TRACK, wall_s: float = NOON_S) -> None:
        self.clock = FakeClock(wall_s)
        self.census = Census(config(privacy), monotonic_ns=self.clock.monotonic_ns())
        self.census.begin_with(CLASSES, self.clock.monotonic_ns())
        self.told: Told = Multiset()
        self.wait(0)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        now_s, now_ns = self.clock.now_s, self.clock.monotonic_ns()
        self.take(self.census.advance(now_s, now_ns, is_synchronised=self.clock.synchronised))

    def stop(self) -> None:
        self.take(self.census.close(self.clock.monotonic_ns(), is_synchronised=True))

    def take(self, releases: tuple[Release, ...]) -> None:
        for release in releases:
            for family in release.families:
                for cell, count in zip(family.plan.cells, family.counts, strict=True):
                    assert count is not None
                    self.told[release.level.name, release.index, family.plan.family, cell] += count

    def see(self, boxes: Boxes, *, captured_s_ago: float = 0.0) -> None:
        found = tuple(Detection(Box(x - 0.05, y - 0.3, x + 0.05, y), 0.7, class_index) for class_index, x, y in boxes)
        at_ns = self.clock.monotonic_ns() - round(captured_s_ago * 1e9)
        self.census.follow(Prediction(1, at_ns, at_ns, 5.0, found))

    def walk(self, xs: list[float], y: float = 0.8) -> None:
        """One person, one step a second, who then goes."""
        for x in xs:
            self.see([(0, x, y)])
            self.wait(1)
        for _ in range(4):
            self.see([])
            self.wait(1)

    def of(self, level: str, family: str, cell: Cell) -> int:
        return sum(count for key, count in self.told.items() if (key[0], *key[2:]) == (level, family, cell))


def test_who_walks_through_is_told_once_at_each_level() -> None:
    site = Site()
    site.walk([0.2, 0.35, 0.45, 0.55, 0.65])
    site.wait(86_400)
    for level in LEVELS:
        assert site.of(level.name, ENTERED, PERSON) == 1
        assert site.of(level.name, CROSSINGS, ("door", "person", FORWARD)) == 1
        assert site.of(level.name, PRESENCE, PERSON) == 1
        assert site.of(level.name, DWELL, ("right", "1")) == 1
    assert site.of("day", CONFIDENCE, ("3",)) == 1
    assert {key[2] for key in site.told if key[0] != "day"} == {ENTERED, CROSSINGS, PRESENCE, DWELL}
    assert site.told.total() == 4 * 3 + 1


def test_a_day_has_a_fixed_schedule_whatever_happens() -> None:
    released: list[list[tuple[str, int]]] = []
    for walks in (0, 5):
        site = Site(wall_s=1_699_920_000.0)
        for step in range(96):
            for _ in range(walks if step == 3 else 0):
                site.walk([0.2, 0.3])
            site.wait(1_699_920_000.0 + 900 * (step + 1) - site.clock.now_s)
        released.append(sorted({key[:2] for key in site.told}))
    assert len(released[0]) == 96 + 24 + 1
    assert released[0] == released[1]


def test_the_guarantee_none_counts_and_tells_nothing() -> None:
    site = Site(PrivacyConfig(guarantee="none"))
    site.walk([0.2, 0.4, 0.6])
    site.wait(86_400)
    site.stop()
    assert not site.told
    assert site.census._tracker is None


def test_without_a_model_nothing_is_told() -> None:
    clock = FakeClock(NOON_S)
    bare = Census(config(), monotonic_ns=clock.monotonic_ns())
    for _ in range(3):
        assert bare.advance(clock.now_s, clock.monotonic_ns(), is_synchronised=True) == ()
        clock.advance(900)


def test_a_stop_ends_the_tracks_and_releases_the_windows_that_are_more_than_half_over() -> None:
    site = Site()
    site.wait(500)
    site.see([(0, 0.2, 0.8)])
    site.stop()
    assert {key[0] for key in site.told} == {"quarter"}
    assert site.of("quarter", ENTERED, PERSON) == 1


def test_other_classes_end_the_tracks_and_are_told_from_then_on() -> None:
    site = Site()
    site.see([(0, 0.2, 0.8)])
    site.census.begin_with(("person", "dog"), site.clock.monotonic_ns())
    site.see([(1, 0.2, 0.8)])
    site.wait(900)
    assert site.of("quarter", ENTERED, ("dog",)) == 1
    assert site.of("quarter", ENTERED, PERSON) == 1
    assert ("bicycle",) not in {key[3] for key in site.told}


def test_a_new_line_is_told_of_from_the_reload_on_and_unwanted_classes_are_not() -> None:
    site = Site()
    gate = LineConfig(name="gate", start=(0.3, 1.0), end=(0.3, 0.0))
    site.census.reconfigure(
        dataclasses.replace(
            config(),
            counting=CountingConfig(lines=(gate,)),
            tracking=TrackingConfig(confirm_frames=1, classes=("person",)),
        ),
        site.clock.monotonic_ns(),
    )
    site.walk([0.2, 0.4, 0.6])
    site.wait(900)
    assert {key[3] for key in site.told if key[2] == CROSSINGS} == {
        ("gate", "person", way) for way in ("forward", "backward")
    }
    assert site.of("quarter", CROSSINGS, ("gate", "person", FORWARD)) == 1
    assert ("bicycle",) not in {key[3] for key in site.told}


def test_no_track_is_told_of_under_two_plans_whose_sum_may_be_more_than_the_budget() -> None:
    site = Site()
    site.see([(0, 0.2, 0.8)])
    without_lines = dataclasses.replace(config(), counting=CountingConfig())
    site.census.reconfigure(without_lines, site.clock.monotonic_ns())
    site.wait(900)
    assert site.of("quarter", ENTERED, PERSON) == 0, "what was counted under the old plan is forgotten"
    site.see([(0, 0.2, 0.8)])
    site.census.reconfigure(without_lines, site.clock.monotonic_ns())
    site.wait(900)
    assert site.of("quarter", ENTERED, PERSON) == 1, "a reload that changes nothing forgets nothing"


def test_a_reload_that_leaves_nothing_to_tell_tells_nothing() -> None:
    site = Site(PrivacyConfig(shares=SharesConfig(entered=0, dwell=0, confidence=0)))
    site.census.reconfigure(dataclasses.replace(config(), counting=CountingConfig()), site.clock.monotonic_ns())
    site.walk([0.2, 0.4, 0.6])
    site.wait(900)
    assert not site.told


CHUNKED = PrivacyConfig(
    guarantee="duration", event_s=20, segments=1, chunk_s=10, max_rows=2, shares=SharesConfig(presence=1.0)
)


def test_a_chunks_end_forgets_every_track_so_who_stays_enters_each_chunk() -> None:
    site = Site(CHUNKED)
    for _ in range(30):
        site.see([(0, 0.2, 0.8)])
        site.wait(1)
    site.wait(900)
    assert site.of("quarter", ENTERED, PERSON) == 3
    assert site.of("quarter", PRESENCE, PERSON) == 1


def test_a_chunk_counts_its_first_tracks_only_and_one_that_was_cut_short_not_at_all() -> None:
    site = Site(CHUNKED)
    site.see([(0, 0.1, 0.8), (0, 0.5, 0.8), (0, 0.9, 0.8)])
    site.wait(500)
    site.see([(0, 0.1, 0.8)])
    site.stop()
    assert site.of("quarter", ENTERED, PERSON) == 2


def test_a_frame_of_a_chunk_that_is_over_is_left_out() -> None:
    site = Site(CHUNKED)
    site.wait(10)
    site.see([(0, 0.1, 0.8)], captured_s_ago=0.2)
    site.wait(900)
    assert site.of("quarter", ENTERED, PERSON) == 0


def test_a_step_of_wall_time_makes_no_chunk_shorter() -> None:
    site = Site(CHUNKED)
    for second in range(20):
        if second == 5:
            site.clock.now_s += 30_000
        site.see([(0, 0.2, 0.8)])
        site.wait(1)
    site.wait(86_400)
    assert site.of("day", ENTERED, PERSON) == 2


def play(frames: list[Boxes], privacy: PrivacyConfig) -> Told:
    """From 100 s before an hour's end on; nothing is left open at the end."""
    site = Site(privacy, wall_s=NOON_S + 3500)
    for boxes in frames:
        site.see(boxes)
        site.wait(1)
    site.wait(86_400)
    return site.told


def worst_distances(one: Told, other: Told) -> dict[str, int]:
    """Family → the largest L1 of any level, over all cells of all windows."""
    sums: Multiset[tuple[str, str]] = Multiset()
    for key in one.keys() | other.keys():
        sums[key[0], key[2]] += abs(one[key] - other[key])
    return {family: max(sums[level.name, family] for level in LEVELS) for _, family in sums}


def random_frames(rng: random.Random, count: int) -> list[Boxes]:
    return [
        [(rng.randrange(2), rng.choice((0.1, 0.3, 0.49, 0.52, 0.7, 0.9)), 0.8) for _ in range(rng.randrange(5))]
        for _ in range(count)
    ]


@settings(max_examples=25)
@given(
    st.integers(0, 2**32),
    st.integers(1, 2),
    st.integers(1, 40),
    st.sampled_from([5, 10, 20]),
    st.integers(1, 3),
)
def test_whatever_changes_within_an_event_changes_no_family_by_more_than_the_plan_says(
    seed: int, segments: int, event_s: int, chunk_s: int, max_rows: int
) -> None:
    rng = random.Random(seed)
    privacy = dataclasses.replace(CHUNKED, segments=segments, event_s=event_s, chunk_s=chunk_s, max_rows=max_rows)
    frames = random_frames(rng, 200)
    changed = list(frames)
    for _ in range(segments):
        first = rng.randrange(len(frames))
        changed[first : first + event_s] = random_frames(rng, len(frames[first : first + event_s]))
    distances = worst_distances(play(frames, privacy), play(changed, privacy))
    assert all(distance <= sensitivity(privacy, 2) for distance in distances.values())


def test_the_worst_event_changes_exactly_as_much_as_the_plan_says() -> None:
    """20 seconds in the wrong place touch three chunks of 10, each full of bicycles in place of people."""
    people: Boxes = [(0, 0.1, 0.8), (0, 0.9, 0.8)]
    bicycles: Boxes = [(1, x, y) for _, x, y in people]
    frames = [people if second in (9, 10, 20) else [] for second in range(40)]
    changed = [bicycles if boxes else [] for boxes in frames]
    assert sensitivity(CHUNKED, 2) == 12
    assert worst_distances(play(frames, CHUNKED), play(changed, CHUNKED))[ENTERED] == 12


@pytest.fixture
def broken_bound(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(census.ContributionBound, "limit", lambda bound, events: list(events))


def test_the_distance_above_would_notice_a_bound_that_does_not_bind(broken_bound: Callable[[], None]) -> None:
    crowd: Boxes = [(0, x / 10, 0.8) for x in range(10)]
    frames: list[Boxes] = [crowd, *[[] for _ in range(30)]]
    assert worst_distances(play(frames, CHUNKED), play([[]], CHUNKED))[ENTERED] == CHUNKED.max_rows
    broken_bound()
    assert worst_distances(play(frames, CHUNKED), play([[]], CHUNKED))[ENTERED] > CHUNKED.max_rows
