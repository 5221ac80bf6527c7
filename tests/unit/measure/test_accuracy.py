"""Accuracy is what COCO's own evaluation says, and its interval is honest."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeapp.measure.accuracy import AveragePrecision, Judged, Label, classification_figures, detection_figures
from edgeapp.types import Box, Detection

_CASES = json.loads((Path(__file__).parents[2] / "data" / "coco-cases.json").read_text())["cases"]
_SIDE = 128  # a power of two: no rounding moves an overlap over a threshold
_WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def _box(x: int, y: int, width: int, height: int) -> Box:
    return Box(x / _SIDE, y / _SIDE, (x + width) / _SIDE, (y + height) / _SIDE)


def _frame(plain: dict[str, Any]) -> Judged:
    labels = tuple(Label(_box(*each[:4]), each[4], bool(each[5])) for each in plain["labels"])
    return Judged(labels, tuple(Detection(_box(*each[:4]), each[5], each[4]) for each in plain["found"]))


def _person(x: int, score: float | None = None) -> Any:
    box = _box(x, 10, 10, 20)
    return Label(box, 0) if score is None else Detection(box, score, 0)


@pytest.mark.parametrize("case", _CASES, ids=range(len(_CASES)))
def test_average_precision_is_that_of_pycocotools(case: dict[str, Any]) -> None:
    frames = [_frame(plain) for plain in case["frames"]]
    found = AveragePrecision(frames).at(np.ones(len(frames), np.int64))
    assert found == pytest.approx((case["ap50"], case["ap50_95"]), abs=1e-9)


def test_a_perfect_model_has_one_and_a_blind_one_zero() -> None:
    good = [Judged((_person(10), _person(50)), (_person(10, 0.9), _person(50, 0.8)))] * 5
    blind = [Judged(frame.labels, ()) for frame in good]
    assert {name: figure.value for name, figure in detection_figures(good, min_score=0.5).items()} == {
        "ap50": pytest.approx(1.0), "ap50_95": pytest.approx(1.0), "count_error": 0.0,
    }  # fmt: skip
    assert detection_figures(blind, min_score=0.5)["ap50"].value == 0.0
    assert detection_figures(blind, min_score=0.5)["count_error"].value == 2.0


def test_what_is_not_labelled_has_no_figure() -> None:
    assert set(detection_figures([Judged((), (_person(10, 0.9),))], min_score=0.5)) == {"count_error"}
    assert detection_figures([], min_score=0.5) == {}


def test_a_weight_of_two_is_a_frame_seen_twice() -> None:
    frames = [_frame(plain) for plain in _CASES[1]["frames"]]
    doubled = AveragePrecision([frame for frame in frames for _ in range(2)]).at(np.ones(2 * len(frames), np.int64))
    weighted = AveragePrecision(frames).at(np.full(len(frames), 2))
    assert weighted == pytest.approx(doubled, abs=0.02)  # among equal scores the frames come in another order


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = random.Random(3)
    covered, truth = 0, 0.7
    for _ in range(60):
        frames = []
        for _ in range(80):
            is_right = generator.random() < truth
            frames.append(Judged((Label(_WHOLE, 0),), (Detection(_WHOLE, 0.9, 0 if is_right else 1),)))
        figure = classification_figures(frames)["top1"]
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= truth <= figure.high
    assert 52 <= covered <= 60


def test_the_same_frames_always_have_the_same_interval() -> None:
    frames = [_frame(plain) for plain in _CASES[2]["frames"]]
    first, second = (detection_figures(frames, min_score=0.5) for _ in range(2))
    assert first == second
    assert first["ap50"].low is not None


def test_one_frame_has_a_value_and_no_interval() -> None:
    figure = classification_figures([Judged((Label(_WHOLE, 1),), (Detection(_WHOLE, 0.6, 1),))])["top1"]
    assert (figure.value, figure.low, figure.high) == (1.0, None, None)
