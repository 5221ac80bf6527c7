"""The rules that name the stage in which two models part."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.vision.tensor import TensorSpec
from edgeapp.workshop.own_error import OwnError
from edgeapp.workshop.stages import (
    Gap,
    Limits,
    Stage,
    is_missed,
    judge_conversion,
    judge_inputs,
    judge_kernels,
    judge_quantization,
    output_gap,
)

_STEP = 1 / 127.5
_PICTURES = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3))
_ALL, _HALF = [True] * 20, [True, False] * 10
_FINE = Gap(role="scores", db=40.0, worst_steps=3.0)


def _inputs(found: np.ndarray, own_db: float = 10.0, given_db: float = 20.0) -> Stage:
    return judge_inputs(_PICTURES, found, _STEP, with_own_db=own_db, with_given_db=given_db)


def _layer(index: int, rms_steps: float) -> OwnError:
    return OwnError(
        index=index, operator="CONV_2D", name=f"c{index}", rms_steps=rms_steps, worst_steps=rms_steps, mean_steps=0.0
    )


def test_inputs_that_differ_by_rounding_agree() -> None:
    assert _inputs(_PICTURES + _STEP).answer == "agrees"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (_PICTURES[..., ::-1], "red and blue are swapped"),
        (_PICTURES * 0.5 + 0.5, "0.5 times the reference's, plus 0.5"),
        (_PICTURES[:, ::-1], "prepared differently"),
        (np.clip(_PICTURES, -1.0, -0.7), "calibrated too narrowly"),
    ],
)
def test_how_inputs_differ_is_named(found: np.ndarray, said: str) -> None:
    stage = _inputs(found)
    assert stage.answer == "diverges"
    assert said in stage.text


def test_a_model_that_was_made_for_other_inputs_answers_rightly_with_them() -> None:
    stage = _inputs(_PICTURES[..., ::-1], own_db=30.0, given_db=8.0)
    assert stage.answer == "agrees"
    assert "made for them" in stage.text


def test_a_conversion_changes_the_last_digits_only() -> None:
    assert judge_conversion([Gap(role="boxes", db=90.0, worst_steps=0.01)]).answer == "agrees"
    wrong = judge_conversion([_FINE, Gap(role="boxes", db=10.0, worst_steps=40.0)])
    assert wrong.answer == "diverges"
    assert "boxes differ by 40" in wrong.text


def test_quantization_is_judged_by_layers_first_and_then_by_what_is_said() -> None:
    fine = (_layer(0, 0.3), _layer(1, 2.8))
    assert judge_quantization(fine, [_FINE], _ALL, Limits()).answer == "agrees"
    noisy = judge_quantization(fine, [_FINE], _HALF, Limits())
    assert (noisy.answer, noisy.layer) == ("diverges", None)
    assert "noise adds up, most in layer 1, CONV_2D 'c1'" in noisy.text
    broken = judge_quantization((*fine, _layer(2, 30.0), _layer(3, 9.0)), [_FINE], _ALL, Limits(), left_out=4)
    assert broken.layer == _layer(2, 30.0)
    assert "so does 1 layer after it" in broken.text
    assert "4 layers without a counterpart" in broken.text


@pytest.mark.parametrize(
    ("unlike", "count", "answer"),
    [(1, 6, False), (3, 6, False), (4, 6, True), (6, 24, False), (8, 24, True)],
)
def test_few_pictures_that_are_unlike_by_chance_are_no_divergence(unlike: int, count: int, answer: bool) -> None:
    assert is_missed([False] * unlike + [True] * (count - unlike), 0.9) is answer


def test_other_kernels_may_round_otherwise_in_a_single_value_but_not_in_all() -> None:
    layers = (_layer(0, 0.5),)

    def judged(db: float, worst_steps: float, same: list[bool] = _ALL) -> str:
        gap = Gap(role="scores", db=db, worst_steps=worst_steps)
        return judge_kernels("compilation", "here", layers, [gap], same, Limits()).answer

    assert judged(40.0, 60.0) == "agrees"
    assert judged(5.0, 3.0) == "agrees"  # a signal that is nearly nothing
    assert judged(5.0, 60.0) == "diverges"
    assert judged(40.0, 1.0, same=_HALF) == "diverges"


def test_a_layer_of_other_kernels_that_does_wrong_by_itself_is_named_however_the_outputs_are() -> None:
    stage = judge_kernels("compilation", "here", (_layer(0, 0.5), _layer(1, 70.0)), [_FINE], _ALL, Limits(), "a note")
    assert (stage.answer, stage.layer) == ("diverges", _layer(1, 70.0))
    assert stage.text.endswith("; a note")


def test_outputs_are_compared_in_steps_and_what_is_no_number_is_far_away() -> None:
    spec = TensorSpec("s", (4,), "int8", 0.5, 0)
    expected = np.array([[1.0, 2.0, 3.0, 4.0]])
    gap = output_gap("scores", expected, expected + np.array([0, 0, 0, 1.0]), spec)
    assert gap.worst_steps == 2
    assert gap.db == pytest.approx(10 * np.log10(30))
    assert output_gap("scores", expected, np.full_like(expected, np.nan), spec).worst_steps == 1e9
