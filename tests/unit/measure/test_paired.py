"""Two models on the same frames: the change, whether it is more than chance, and agreement without labels."""

from __future__ import annotations

import random

import pytest

from edgeapp.measure.accuracy import Judged, Label, classification_figures, detection_figures
from edgeapp.measure.paired import (
    agreement_figures,
    paired_agreement,
    paired_classification,
    paired_detection,
)
from edgeapp.types import Box, Detection

_BOX = Box(0.2, 0.2, 0.5, 0.6)
_WHOLE = Box(0.0, 0.0, 1.0, 1.0)


def _frames(count: int, share_found: float, seed: int) -> list[tuple[Detection, ...]]:
    """Each frame's one thing is found or not."""
    draw = random.Random(seed)
    return [(Detection(_BOX, 0.9, 0),) if draw.random() < share_found else () for _ in range(count)]


def test_each_side_has_the_figures_that_it_has_alone() -> None:
    labels = [(Label(_BOX, 0),)] * 60
    before, after = _frames(60, 0.9, 1), _frames(60, 0.7, 2)
    paired = paired_detection(labels, before, after, 0.5)
    for side, found in (("float_model", before), ("quantized", after)):
        alone = detection_figures([Judged(*each) for each in zip(labels, found, strict=True)], min_score=0.5)
        assert {name: getattr(one, side) for name, one in paired.items()} == alone


def test_models_that_say_the_same_are_no_difference() -> None:
    labels, found = [(Label(_BOX, 0),)] * 50, _frames(50, 0.8, 1)
    paired = paired_detection(labels, found, list(found), 0.5)
    assert {name for name, one in paired.items() if one.is_different} == set()
    assert paired["ap50"].change is not None
    assert (paired["ap50"].change.value, paired["ap50"].change.low, paired["ap50"].change.high) == (0, 0, 0)


def test_a_loss_in_few_frames_is_no_difference_and_in_many_is_one() -> None:
    labels = [(Label(_BOX, 0),)] * 100
    whole = _frames(100, 1.1, 0)
    for lost, is_different in ((2, False), (20, True)):
        after = [() if number < lost else found for number, found in enumerate(whole)]
        paired = paired_detection(labels, whole, after, 0.5)["count_error"]
        assert paired.change is not None
        assert paired.change.value == pytest.approx(lost / 100)
        assert paired.is_different is is_different, lost


def test_the_same_hard_frames_make_the_change_surer_than_either_accuracy() -> None:
    labels = [(Label(_WHOLE, 0),)] * 200
    before = [(Detection(_WHOLE, 0.9, number % 2),) for number in range(200)]
    after = [(Detection(_WHOLE, 0.9, 1),) if number < 10 else found for number, found in enumerate(before)]
    top1 = paired_classification(labels, before, after)["top1"]
    assert top1.float_model is not None
    assert top1.change is not None
    assert (
        top1.float_model == classification_figures([Judged(*each) for each in zip(labels, before, strict=True)])["top1"]
    )
    width, of_change = ((one.high or 0) - (one.low or 0) for one in (top1.quantized, top1.change))
    assert of_change < width / 2
    assert top1.is_different


def test_a_figure_without_labels_is_left_out() -> None:
    assert set(paired_detection([()] * 5, [()] * 5, [()] * 5, 0.5)) == {"count_error"}


def test_agreement_is_f1_with_an_interval_and_compares_two_candidates() -> None:
    good, bad = [(2, 2, 2), (1, 1, 1)] * 30, [(2, 2, 1), (1, 0, 0)] * 30
    figure = agreement_figures([*good, (1, 0, 0)])["agreement"].quantized
    assert figure.value == pytest.approx(2 * 90 / (91 + 90))
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value <= figure.high
    better = paired_agreement(bad, good)["agreement"]
    assert better.is_different
    assert better.change is not None
    assert better.change.value == pytest.approx(1 - 2 * 30 / (90 + 60))
    assert not paired_agreement(good, good)["agreement"].is_different
    assert agreement_figures([(0, 0, 0)] * 3)["agreement"].quantized.value == 1
