"""The comparison of two models' detections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.types import Box, Detection
from edgeapp.vision.comparison import match
from edgeapp.workshop.agreement import agreement

Frames = list[tuple[Detection, ...]]


def _detection(x: float, score: float = 0.9, class_index: int = 0, width: float = 0.2) -> Detection:
    return Detection(Box(x, 0.2, x + width, 0.6), score, class_index)


@st.composite
def _boxes(draw: st.DrawFn) -> Box:
    x, y = draw(st.floats(0, 0.8)), draw(st.floats(0, 0.8))
    return Box(x, y, x + draw(st.floats(0.01, 0.2)), y + draw(st.floats(0.01, 0.2)))


_detections = st.builds(Detection, _boxes(), st.floats(0, 1), st.integers(0, 2))
_frames = st.lists(st.lists(_detections, max_size=5).map(tuple), max_size=4)


@given(_frames)
def test_a_model_agrees_with_itself_completely(frames: Frames) -> None:
    found = agreement(frames, frames)
    assert (found.precision, found.recall, found.f1) == (1.0, 1.0, 1.0)
    if found.matched:
        assert found.mean_iou == pytest.approx(1.0)
        assert found.mean_score_difference is not None


@given(st.lists(st.tuples(st.lists(_detections, max_size=5).map(tuple), st.lists(_detections, max_size=5).map(tuple))))
def test_counts_add_up_for_any_two_models(pairs: list[tuple[tuple[Detection, ...], tuple[Detection, ...]]]) -> None:
    found = agreement([one for one, _ in pairs], [other for _, other in pairs], min_score=0.3)
    assert found.frames == len(pairs)
    assert found.references == sum(one.score >= 0.3 for seen, _ in pairs for one in seen)
    assert 0 <= found.matched <= min(found.references, found.candidates)
    assert found.f1 * (found.references + found.candidates) == pytest.approx(
        2 * found.matched if found.references + found.candidates else 0
    )


@given(_boxes(), _boxes())
def test_overlap_is_symmetric_and_between_nothing_and_all(one: Box, other: Box) -> None:
    assert one.iou(other) == pytest.approx(other.iou(one))
    assert 0 <= one.iou(other) <= 1 + 1e-9


def test_overlap_of_half_shifted_boxes_is_a_third() -> None:
    assert Box(0, 0, 0.2, 0.2).iou(Box(0.1, 0, 0.3, 0.2)) == pytest.approx(1 / 3)
    assert Box(0, 0, 0.2, 0.2).iou(Box(0.2, 0, 0.4, 0.2)) == 0.0


def test_missed_and_invented_detections_lower_recall_and_precision() -> None:
    reference = [(_detection(0.0), _detection(0.5)), (_detection(0.3),)]
    candidate = [(_detection(0.0),), (_detection(0.3), _detection(0.7), _detection(0.9, width=0.1))]
    found = agreement(reference, candidate)
    assert (found.references, found.candidates, found.matched) == (3, 4, 2)
    assert found.precision == pytest.approx(2 / 4)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(4 / 7)
    assert str(found) == "F1 0.571 (precision 0.500, recall 0.667; 3 detections in 2 frames)"


def test_only_scores_from_the_minimum_on_count() -> None:
    found = agreement([(_detection(0.0, 0.5), _detection(0.5, 0.49))], [(_detection(0.0, 0.7),)])
    assert (found.references, found.candidates, found.f1) == (1, 1, 1.0)
    assert found.mean_score_difference == pytest.approx(0.2)


def test_another_class_or_too_little_overlap_is_no_match() -> None:
    one = _detection(0.0)
    assert match([one], [_detection(0.0, class_index=1)], 0.5) == []
    assert match([one], [_detection(0.1)], 0.5) == []
    assert len(match([one], [_detection(0.05)], 0.5)) == 1


def test_each_reference_is_matched_once_and_the_best_score_chooses_first() -> None:
    reference = [_detection(0.0)]
    weak, strong = _detection(0.0, 0.6), _detection(0.02, 0.9)
    ((_, chosen, _),) = match(reference, [weak, strong], 0.5)
    assert chosen is strong


def test_two_models_that_see_nothing_agree_without_an_overlap_to_tell() -> None:
    found = agreement([(), ()], [(), ()])
    assert (found.f1, found.mean_iou, found.mean_score_difference) == (1.0, None, None)


def test_different_numbers_of_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        agreement([(), ()], [()])
