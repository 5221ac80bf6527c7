"""A track is judged once, asked about once and answered once, and its best crop is named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import EscalationConfig
from edgeapp.escalation.policy import Thresholds
from edgeapp.escalation.watch import Question, Watch
from edgeapp.types import (
    AGREED,
    CROSSINGS,
    DIFFERED,
    ENTERED,
    ESCALATED,
    LEFT,
    OUTCOMES,
    UNANSWERED,
    Box,
    Detection,
    Event,
    Observation,
    Prediction,
)

CLASSES = ("person", "dog")
LIMITS = Thresholds({}, 0.6, 0.15, 0.4)
SETTINGS = EscalationConfig(enabled=True, judge_after_s=2.0, answer_s=10.0)
SECOND = 1_000_000_000
ALONE = Box(0.4, 0.4, 0.6, 0.8)


class Scene:
    """A watch that is shown frames, a second apart, and all that it asked."""

    def __init__(self, settings: EscalationConfig = SETTINGS, *, may_ask: bool = True) -> None:
        self.questions: list[Question] = []
        self.may_ask = may_ask
        self.watch = Watch(settings, self._ask)
        self.watch.begin_with(LIMITS)
        self.at_s = 0
        self.born: dict[int, int] = {}

    def _ask(self, question: Question) -> bool:
        self.questions.append(question)
        return self.may_ask

    def see(
        self, *seen: tuple[int, Box, float], others: tuple[Detection, ...] = (), left: tuple[int, ...] = (),
        inferred: bool = True, counted: bool = True,
    ) -> None:  # fmt: skip
        """One frame with these tracks: id, box, score."""
        self.at_s += 1
        found = tuple(Detection(box, score, 0) for _, box, score in seen)
        prediction = Prediction(self.at_s, self.at_s * SECOND, self.at_s * SECOND, 1.0, (*found, *others))
        prediction = prediction if inferred else replace(prediction, invoke_ms=None)
        observations = [
            Observation(track, "person", box, score, self.at_s - self.born.setdefault(track, self.at_s))
            for track, box, score in seen
        ]
        self.watch.see(prediction, observations, left, CLASSES, lambda track: counted)


def test_an_uncertain_track_is_asked_about_once_when_it_is_old_enough() -> None:
    scene = Scene()
    for _ in range(2):
        scene.see((7, ALONE, 0.5))
    assert scene.questions == []
    for _ in range(5):
        scene.see((7, ALONE, 0.5))
    (question,) = scene.questions
    assert (question.track_id, question.class_name, question.frame_id, question.index) == (7, "person", 3, 0)
    assert question.box == ALONE.within(ALONE.widened(0.5))


def test_a_sure_track_is_never_asked_about() -> None:
    scene = Scene()
    for _ in range(5):
        scene.see((7, ALONE, 0.9))
    scene.see(left=(7,))
    assert scene.questions == []


def test_a_track_that_leaves_early_is_judged_then() -> None:
    scene = Scene()
    scene.see((7, ALONE, 0.5))
    scene.see(left=(7,))
    assert [question.frame_id for question in scene.questions] == [1]


def test_a_refused_question_is_never_asked_again() -> None:
    scene = Scene(may_ask=False)
    for _ in range(6):
        scene.see((7, ALONE, 0.5))
    assert len(scene.questions) == 1
    assert scene.watch.expire(10**12) == []


def test_a_track_that_does_not_count_is_not_asked_about() -> None:
    scene = Scene()
    for _ in range(6):
        scene.see((7, ALONE, 0.5), counted=False)
    assert scene.questions == []


def test_another_class_in_the_same_place_makes_it_uncertain() -> None:
    scene = Scene()
    dog = Detection(Box(0.41, 0.41, 0.6, 0.8), 0.8, 1)
    for _ in range(3):
        scene.see((7, ALONE, 0.9), others=(dog,))
    assert len(scene.questions) == 1
    elsewhere = Scene()
    for _ in range(3):
        elsewhere.see((7, ALONE, 0.9), others=(replace(dog, box=Box(0, 0, 0.2, 0.4)),))
    assert elsewhere.questions == []


def test_the_best_crop_is_whole_then_large_and_is_still_kept_by_vision() -> None:
    scene = Scene()
    scene.see((7, Box(0, 0, 0.9, 0.9), 0.5))  # touches the edge
    scene.see((7, Box(0.3, 0.3, 0.6, 0.6), 0.5))
    scene.see((7, Box(0.3, 0.3, 0.5, 0.5), 0.5))
    assert [question.frame_id for question in scene.questions] == [2]
    late = Scene(replace(SETTINGS, judge_after_s=4.0))
    late.see((7, Box(0.1, 0.1, 0.9, 0.9), 0.5))
    for _ in range(3):
        late.see((7, ALONE, 0.5), inferred=False)
    late.see((7, Box(0.45, 0.45, 0.5, 0.5), 0.5))
    late.see(left=())
    late.see(left=(7,))
    assert [question.frame_id for question in late.questions] == [1]


def test_a_frame_that_was_not_inferred_shows_nothing_new() -> None:
    scene = Scene()
    scene.see((7, ALONE, 0.5))
    for _ in range(2):
        scene.see((7, ALONE, 0.5), inferred=False)
    assert [question.frame_id for question in scene.questions] == [1]


def asked_about(settings: EscalationConfig = SETTINGS) -> tuple[Scene, int]:
    scene = Scene(settings)
    for _ in range(3):
        scene.see((7, ALONE, 0.5))
    return scene, scene.questions[0].number


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_answer_is_told_once(outcome: str) -> None:
    scene, number = asked_about()
    assert scene.watch.answer(number, outcome) == [Event(ESCALATED, (outcome,), 7)]
    assert scene.watch.answer(number, outcome) == []
    assert scene.watch.expire(10**12) == []


def test_without_an_answer_in_time_it_is_unanswered() -> None:
    scene, number = asked_about()
    asked_ns = 3 * SECOND
    assert scene.watch.expire(asked_ns + 10 * SECOND - 1) == []
    assert scene.watch.expire(asked_ns + 10 * SECOND) == [Event(ESCALATED, (UNANSWERED,), 7)]
    assert scene.watch.answer(number, AGREED) == []


def test_the_last_event_of_a_track_waits_for_its_outcome() -> None:
    scene, number = asked_about()
    left = Event(LEFT, (), 7)
    assert scene.watch.let_pass([left]) == []
    assert scene.watch.answer(number, AGREED) == [Event(ESCALATED, (AGREED,), 7), left]
    assert scene.watch.let_pass([Event(LEFT, (), 8)]) == [Event(LEFT, (), 8)]


def test_the_end_of_all_tracks_ends_every_question() -> None:
    scene, number = asked_about()
    assert scene.watch.end() == [Event(ESCALATED, (UNANSWERED,), 7)]
    assert scene.watch.answer(number, AGREED) == []


@pytest.mark.parametrize(("corrects", "outcome", "counts"), [
    (True, DIFFERED, False), (True, AGREED, True), (True, UNANSWERED, True), (False, DIFFERED, True),
])  # fmt: skip
def test_what_is_not_confirmed_counts_no_further(corrects: bool, outcome: str, counts: bool) -> None:
    scene, number = asked_about(replace(SETTINGS, corrects_counts=corrects))
    scene.watch.answer(number, outcome)
    crossing = Event(CROSSINGS, ("door", "person", "forward"), 7)
    other = Event(CROSSINGS, ("door", "person", "forward"), 8)
    kept = [Event(ENTERED, ("person",), 9), other]
    assert scene.watch.let_pass([crossing, *kept]) == ([crossing, *kept] if counts else kept)
    scene.watch.let_pass([Event(LEFT, (), 7)])
    assert scene.watch.let_pass([crossing]) == [crossing], "the number of a track that left says nothing any more"


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([*OUTCOMES, "late", "end", "see", "left"])), max_size=60))
def test_each_track_is_told_of_at_most_once_whatever_happens(steps: list[tuple[int, str]]) -> None:
    scene = Scene(replace(SETTINGS, judge_after_s=0.5))
    told: list[Event] = []
    generation, gone = 0, set[int]()
    for track, what in steps:
        name = 100 * generation + track
        if what == "see" and name not in gone:
            scene.see((name, ALONE, 0.5))
        elif what == "left" and name in scene.born and name not in gone:
            gone.add(name)
            scene.see(left=(name,))
            told += scene.watch.let_pass([Event(LEFT, (), name)])
        elif what == "late":
            told += scene.watch.expire(10**15)
        elif what == "end":
            told += scene.watch.end()
            generation += 1
        elif scene.questions:
            told += scene.watch.answer(scene.questions[-1].number, what)
    told += scene.watch.end()
    tracks = [event.track_id for event in told if event.family == ESCALATED]
    assert len(tracks) == len(set(tracks)) == len(scene.questions)
    lasts = [event.track_id for event in told if event.family == LEFT]
    assert len(lasts) == len(set(lasts))
