"""Follows the tracks that may be worth a second opinion: judged once, asked about once, answered once; pure.

Owns the life of each open track as the policy sees it, the place of its best crop, and the questions that are open.
Leaves to its caller whether a doubted track is asked about (budgets, consent), and to `contributions.py` what counts.

Guarantees: a track is judged once, at a moment that depends on it alone; each question ends in exactly one outcome, at
the latest when its time is over or its track is forgotten; the last event of a track, `left`, comes after that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgeapp.config import EscalationConfig
from edgeapp.escalation.policy import Life, Thresholds, doubt
from edgeapp.types import (
    CROSSINGS,
    DIFFERED,
    DWELL,
    ESCALATED,
    LEFT,
    PRESENCE,
    UNANSWERED,
    Box,
    Detection,
    Event,
    Observation,
    Prediction,
)

CORRECTED = frozenset({CROSSINGS, PRESENCE, DWELL})  # what a track that was not confirmed feeds no more
_SAME_PLACE_IOU = 0.5
_SHOWN_NS = 4_000_000_000  # older crops may be forgotten by vision when they are asked for
_EDGE = 0.005  # of the picture: what touches it is seen in part


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What a doubted track would be asked about: the class it is taken for, and its best crop.

    The crop is that of detection `index` of the prediction of `frame_id`; the thing is at `box`, in shares of the crop.
    """

    number: int
    track_id: int
    class_name: str
    frame_id: int
    index: int
    box: Box


@dataclass(frozen=True, slots=True)
class _Shown:
    """One sight of a track. The best is whole, then large."""

    is_whole: bool
    area: float
    frame_id: int
    index: int
    box: Box
    at_ns: int


class _Watched:
    """One open track that has not been judged."""

    __slots__ = ("class_name", "frames", "least", "margin", "most", "score_sum", "shown")

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.frames, self.score_sum = 0, 0.0
        self.least, self.most = 1.0, 0.0
        self.margin: float | None = None
        self.shown: list[_Shown] = []

    def see(self, shown: _Shown, score: float, rival: float | None) -> None:
        self.frames += 1
        self.score_sum += score
        self.least, self.most = min(self.least, score), max(self.most, score)
        if rival is not None:
            self.margin = score - rival if self.margin is None else min(self.margin, score - rival)
        self.shown = [one for one in self.shown if shown.at_ns - one.at_ns <= _SHOWN_NS and not _is_better(shown, one)]
        self.shown.append(shown)

    def life(self) -> Life:
        return Life(self.class_name, self.score_sum / self.frames, self.least, self.most, self.margin)

    def best(self, now_ns: int) -> _Shown | None:
        return next((one for one in self.shown if now_ns - one.at_ns <= _SHOWN_NS), None)


def _is_better(one: _Shown, other: _Shown) -> bool:
    return (one.is_whole, one.area) >= (other.is_whole, other.area)


@dataclass(slots=True)
class _Asked:
    """An open question."""

    track_id: int
    due_ns: int
    left: Event | None = None  # held back until there is an outcome


class Watch:
    """The tracks of one camera. One thread owns it: the one that owns the tracker."""

    def __init__(self, settings: EscalationConfig, ask: Callable[[Question], bool]) -> None:
        """`ask` says whether the question is asked; what comes of it is told by `answer`."""
        self._settings, self._ask = settings, ask
        self._limits: Thresholds | None = None
        self._numbers = itertools.count(1)
        self._judged: set[int] = set()
        self._watched: dict[int, _Watched] = {}
        self._asked: dict[int, _Asked] = {}
        self._refuted: set[int] = set()

    def begin_with(self, limits: Thresholds) -> None:
        """Judge by the thresholds of the model that runs from now on."""
        self._limits = limits

    def see(
        self,
        prediction: Prediction,
        observations: Sequence[Observation],
        left: Iterable[int],
        class_names: Sequence[str],
        is_counted: Callable[[int], bool],
    ) -> None:
        """Follow one frame, and ask about the tracks that are judged in it and doubted.

        A track is judged when it is old enough, or when it leaves before. One that is not counted is not asked about.
        """
        if prediction.invoke_ms is not None:
            places = {found.box: index for index, found in enumerate(prediction.detections)}
            for seen in observations:
                index = places.get(seen.box)
                if index is not None and seen.track_id not in self._judged:
                    self._follow(seen, prediction, index, class_names)
        due = [seen.track_id for seen in observations if seen.age_s >= self._settings.judge_after_s]
        for track_id in (*due, *left):
            watched = self._watched.pop(track_id, None)
            if watched is not None:
                self._judged.add(track_id)
                if is_counted(track_id):
                    self._judge(track_id, watched, prediction.captured_ns)

    def let_pass(self, events: Iterable[Event]) -> list[Event]:
        """Those of one frame's events that stand: what was not confirmed counts no further, as far as is configured.

        The last event of a track whose question is open is held back.
        """
        passed = []
        open_ones = {asked.track_id: asked for asked in self._asked.values()}
        for event in events:
            if event.family == LEFT:
                self._judged.discard(event.track_id)
                if event.track_id in open_ones:
                    open_ones[event.track_id].left = event
                    continue
                self._refuted.discard(event.track_id)
            elif event.family in CORRECTED and event.track_id in self._refuted:
                continue
            passed.append(event)
        return passed

    def answer(self, number: int, outcome: str) -> list[Event]:
        """The events of an outcome; none where the question has had one, or its track is forgotten."""
        asked = self._asked.pop(number, None)
        if asked is None:
            return []
        events = [Event(ESCALATED, (outcome,), asked.track_id)]
        if asked.left is not None:
            events.append(asked.left)
        elif outcome == DIFFERED and self._settings.corrects_counts:
            self._refuted.add(asked.track_id)
        return events

    def expire(self, now_ns: int) -> list[Event]:
        """The events of the questions whose time is over."""
        late = [number for number, asked in self._asked.items() if now_ns >= asked.due_ns]
        return [event for number in late for event in self.answer(number, UNANSWERED)]

    def end(self) -> list[Event]:
        """Every track is about to be forgotten: the events of the questions that are open."""
        events = [event for number in list(self._asked) for event in self.answer(number, UNANSWERED)]
        for kept in (self._judged, self._watched, self._refuted):
            kept.clear()
        return events

    def _follow(self, seen: Observation, prediction: Prediction, index: int, class_names: Sequence[str]) -> None:
        watched = self._watched.get(seen.track_id)
        if watched is None:
            watched = self._watched[seen.track_id] = _Watched(seen.class_name)
        box = seen.box
        is_whole = min(box.x_min, box.y_min) > _EDGE and max(box.x_max, box.y_max) < 1 - _EDGE
        shown = _Shown(is_whole, box.width * box.height, prediction.frame_id, index, box, prediction.captured_ns)
        watched.see(shown, seen.score, _rival(seen, prediction.detections, class_names))

    def _judge(self, track_id: int, watched: _Watched, now_ns: int) -> None:
        assert self._limits is not None, "there are no tracks before a model runs"
        best = watched.best(now_ns)
        if best is None or doubt(watched.life(), self._limits) is None:
            return
        question = Question(
            number=next(self._numbers),
            track_id=track_id,
            class_name=watched.class_name,
            frame_id=best.frame_id,
            index=best.index,
            box=best.box.within(best.box.widened(self._settings.crop.margin_pct / 100)),
        )
        if self._ask(question):
            self._asked[question.number] = _Asked(track_id, now_ns + round(self._settings.answer_s * 1e9))


def _rival(seen: Observation, detections: Sequence[Detection], class_names: Sequence[str]) -> float | None:
    """The best score of another class in the same place."""
    return max(
        (
            other.score
            for other in detections
            if class_names[other.class_index] != seen.class_name and other.box.iou(seen.box) >= _SAME_PLACE_IOU
        ),
        default=None,
    )
