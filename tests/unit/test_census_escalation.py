"""What escalation adds to the counts: each track at most once, and no family changed by more than the plan says."""

from __future__ import annotations

import random
from collections import Counter as Multiset
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.census import Census
from edgeapp.config import (
    CameraConfig,
    Config,
    CountingConfig,
    DeviceConfig,
    EscalationConfig,
    InferenceConfig,
    LineConfig,
    MqttConfig,
    PrivacyConfig,
    SharesConfig,
    TrackingConfig,
    ZoneConfig,
)
from edgeapp.escalation.policy import Limits, Spent, Windows, spend
from edgeapp.escalation.watch import Question
from edgeapp.telemetry import noise
from edgeapp.telemetry.budget import LEVELS, plan
from edgeapp.types import (
    AGREED,
    CONFIDENCE,
    CROSSINGS,
    DIFFERED,
    DWELL,
    ENTERED,
    ESCALATED,
    OUTCOMES,
    PRESENCE,
    UNANSWERED,
    Box,
    Cell,
    Detection,
    Prediction,
)
from tests.fakes.clock import FakeClock

NOON_S = 1_699_963_200.0
COUNTING = CountingConfig(
    lines=(LineConfig(name="door", start=(0.5, 1.0), end=(0.5, 0.0)),),
    zones=(ZoneConfig(name="right", polygon=((0.5, 0), (1, 0), (1, 1), (0.5, 1))),),
)
PRIVACY = PrivacyConfig(shares=SharesConfig(presence=1.0))
PLENTY = Limits(100, 100, 100)
ESCALATION = EscalationConfig(enabled=True, judge_after_s=2.0, answer_s=5.0)
Told = Multiset[tuple[str, int, str, Cell]]


@pytest.fixture(autouse=True)
def no_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "discrete_laplace", lambda scale: 0)


class Site:
    """A census with escalation, and an endpoint that answers a second later by `outcome`."""

    def __init__(
        self,
        outcome: str | None,
        most: Limits = PLENTY,
        *,
        escalation: EscalationConfig = ESCALATION,
        wall_s: float = NOON_S,
    ) -> None:
        """Without `outcome` it depends on the lane that a track walks in."""
        self.clock = FakeClock(wall_s)
        self.outcome, self.most = outcome, most
        self.spent = Spent(Windows(0, 0, 0))
        self.asked: list[Question] = []
        self.waiting: list[tuple[Question, float]] = []
        self.seen: dict[int, tuple[Detection, ...]] = {}
        self.told: Told = Multiset()
        settings = Config(
            device=DeviceConfig(id="test"),
            camera=CameraConfig(kind="video", source="none.avi"),
            inference=InferenceConfig(model_dir="none"),
            mqtt=MqttConfig(host="127.0.0.1"),
            tracking=TrackingConfig(confirm_frames=1),
            counting=COUNTING,
            privacy=PRIVACY,
            escalation=escalation,
        )
        self.census = Census(settings, monotonic_ns=self.clock.monotonic_ns(), ask=self._ask)
        self.census.begin_with(("person",), self.clock.monotonic_ns(), {"person": 0.6})
        self.wait(0)

    def _ask(self, question: Question) -> bool:
        self.spent, why = spend(self.spent, self.clock.now_s, self.most)
        if why is None:
            self.asked.append(question)
            self.waiting.append((question, self.seen[question.frame_id][question.index].box.y_max))
        return why is None

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for release in self.census.advance(self.clock.now_s, self.clock.monotonic_ns(), is_synchronised=True):
            for family in release.families:
                for cell, count in zip(family.plan.cells, family.counts, strict=True):
                    assert count is not None
                    self.told[release.level.name, release.index, family.plan.family, cell] += count

    def second(self, people: list[tuple[float, float, float]]) -> None:
        """One frame: x, y of the foot, score; then the answers that are due."""
        found = tuple(Detection(Box(x - 0.02, y - 0.04, x + 0.02, y), score, 0) for x, y, score in people)
        now_ns, due = self.clock.monotonic_ns(), self.waiting
        self.waiting = []
        frame_id = len(self.seen)
        self.seen[frame_id] = found
        self.census.follow(Prediction(frame_id, now_ns, now_ns, 5.0, found))
        for question, lane in due:
            self.census.answer(question.number, self.outcome or OUTCOMES[round(10 * lane) % 3])
        self.wait(1)

    def of(self, family: str, cell: Cell, level: str = "day") -> int:
        return sum(count for key, count in self.told.items() if (key[0], *key[2:]) == (level, family, cell))

    def walk(self, xs: list[float], score: float = 0.5) -> None:
        for x in xs:
            self.second([(x, 0.8, score)])
        for _ in range(4):
            self.second([])
        self.wait(86_400)


STEPS = [0.42, 0.44, 0.46, 0.48, 0.52, 0.54, 0.56]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_uncertain_track_is_told_of_once_with_its_outcome(outcome: str) -> None:
    site = Site(outcome)
    site.walk(STEPS)
    assert len(site.asked) == 1
    for level in LEVELS:
        assert {cell: site.of(ESCALATED, (cell,), level.name) for cell in OUTCOMES} == {
            cell: int(cell == outcome) for cell in OUTCOMES
        }


def test_what_the_larger_model_does_not_confirm_counts_no_further() -> None:
    agreed, differed = Site(AGREED), Site(DIFFERED)
    statistics = Site(DIFFERED, escalation=EscalationConfig(enabled=True, answer_s=5.0, corrects_counts=False))
    for site in (agreed, differed, statistics):
        site.walk(STEPS)
        assert site.of(ENTERED, ("person",)) == 1
        assert sum(site.of(CONFIDENCE, (str(place),)) for place in range(6)) == 1
    assert agreed.of(CROSSINGS, ("door", "person", "forward")) == 1
    assert differed.of(CROSSINGS, ("door", "person", "forward")) == 0
    assert statistics.of(CROSSINGS, ("door", "person", "forward")) == 1
    assert sum(differed.of(DWELL, ("right", str(place))) for place in range(10)) == 0


def test_an_answer_that_comes_when_the_track_has_left_counts_to_the_open_windows() -> None:
    site = Site(AGREED)
    site.second([(0.3, 0.8, 0.5)])
    for _ in range(3):
        site.second([])
    assert len(site.asked) == 1
    site.wait(86_400)
    assert site.of(ESCALATED, (AGREED,)) == 1


def test_without_an_answer_the_track_is_unanswered() -> None:
    site = Site(AGREED)
    site.second([(0.3, 0.8, 0.5)])
    for _ in range(10):
        site.second([])
        site.waiting.clear()
    site.wait(86_400)
    assert site.of(ESCALATED, (UNANSWERED,)) == 1


def test_a_sure_track_is_not_asked_about_and_the_family_is_told_all_the_same() -> None:
    site = Site(AGREED)
    site.walk(STEPS, score=0.9)
    assert site.asked == []
    told = {key[0::3]: count for key, count in site.told.items() if key[2] == ESCALATED}
    assert set(told) == {(level.name, (cell,)) for level in LEVELS for cell in OUTCOMES}
    assert not any(told.values())


def test_the_plan_doubles_what_escalation_can_change_and_spends_the_same_budget() -> None:
    def bounds(escalation: EscalationConfig) -> dict[str, int]:
        return {
            each.family: each.sensitivity
            for level in LEVELS
            for each in plan(PRIVACY, COUNTING, ("person",), escalation).releases(level)
        }

    corrected = {ENTERED: 1, CROSSINGS: 2, PRESENCE: 2, DWELL: 2, CONFIDENCE: 1, ESCALATED: 2}
    assert bounds(ESCALATION) == corrected
    as_told = EscalationConfig(enabled=True, corrects_counts=False)
    assert bounds(as_told) == dict.fromkeys(corrected, 1) | {ESCALATED: 2}
    assert ESCALATED not in bounds(EscalationConfig())
    for escalation in (ESCALATION, as_told, EscalationConfig()):
        planned = plan(PRIVACY, COUNTING, ("person",), escalation)
        spent = sum((each.epsilon for level in LEVELS for each in planned.releases(level)), Fraction(0))
        assert spent == 1


LANES = tuple(0.1 + 0.1 * lane for lane in range(9))  # two heights apart: beyond the tracker's reach
walks = st.lists(
    st.tuples(st.integers(0, 40), st.sampled_from(LANES), st.sampled_from([0.5, 0.9]), st.integers(1, 12)),
    min_size=1,
    max_size=8,
    unique_by=lambda walk: walk[1],
)


def play(tracks: list[tuple[int, float, float, int]], most: Limits) -> Told:
    """Walks (start, lane, score, seconds) across an hour's border; what came of each question depends on its lane."""
    site = Site(None, most, wall_s=NOON_S + 3570)
    for second in range(70):
        site.second(
            [
                (0.4 + 0.02 * (second - start), lane, score)
                for start, lane, score, seconds in tracks
                if 0 <= second - start < seconds
            ]
        )
    site.wait(86_400)
    return site.told


@settings(max_examples=40)
@given(tracks=walks, seed=st.integers(0, 2**32), hour=st.integers(1, 2), day=st.integers(1, 4))
def test_one_track_more_changes_no_family_by_more_than_the_plan_says(
    tracks: list[tuple[int, float, float, int]], seed: int, hour: int, day: int
) -> None:
    fewer = list(tracks)
    fewer.pop(random.Random(seed).randrange(len(fewer)))
    most = Limits(hour, day, 100)
    one, other = play(tracks, most), play(fewer, most)
    bounds = {
        each.family: each.sensitivity
        for level in LEVELS
        for each in plan(PRIVACY, COUNTING, ("person",), ESCALATION).releases(level)
    }
    distances: Multiset[tuple[str, str]] = Multiset()
    for key in one.keys() | other.keys():
        distances[key[0], key[2]] += abs(one[key] - other[key])
    assert all(distance <= bounds[family] for (_, family), distance in distances.items()), distances
