"""Outputs of a converted model are found again, whatever their names, order and layout."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.errors import ConvertError
from edgeapp.workshop.conversion_check import MOST_STEPS, fitted, pair

_RANDOM = np.random.default_rng(0)
_BOXES = _RANDOM.normal(size=(2, 1, 5, 4))
_SCORES = _RANDOM.uniform(size=(2, 1, 5, 4))
_MAP = _RANDOM.normal(size=(2, 1, 3, 6, 7))


def test_outputs_of_one_shape_are_told_apart_by_what_they_say() -> None:
    pairs = pair({"boxes": _BOXES, "scores": _SCORES}, {"Identity": _SCORES, "Identity_1": _BOXES + 1e-6})
    assert [(one.name, one.original) for one in pairs] == [("Identity", "scores"), ("Identity_1", "boxes")]
    assert pairs[0].steps == 0
    assert 0 < pairs[1].steps < MOST_STEPS


def test_channels_may_have_gone_last() -> None:
    (one,) = pair({"map": _MAP}, {"out": np.moveaxis(_MAP, 2, -1)})
    assert one.steps == 0
    assert one.expected.shape == (2, 1, 6, 7, 3)
    assert fitted(_MAP, (1, 7, 6, 3)) is None


@pytest.mark.parametrize(
    ("wrong", "least_steps"),
    [(_SCORES + 0.01, 2.0), (np.where(_SCORES > 0.5, np.nan, _SCORES), 1e9), (np.swapaxes(_SCORES, 2, 3)[..., :4], 0)],
)
def test_what_was_converted_wrongly_is_off_by_steps(wrong: np.ndarray, least_steps: float) -> None:
    if wrong.shape != _SCORES.shape:
        with pytest.raises(ConvertError, match=r"scores \[1, 5, 4\], found out \[1, 4, 4\]"):
            pair({"scores": _SCORES}, {"out": wrong})
        return
    (one,) = pair({"scores": _SCORES}, {"out": wrong})
    assert one.steps > least_steps


def test_an_output_too_few_or_too_many_is_refused() -> None:
    for found in ({"out": _SCORES}, {"a": _SCORES, "b": _BOXES, "c": _BOXES}):
        with pytest.raises(ConvertError, match="expected the outputs of the original"):
            pair({"scores": _SCORES, "boxes": _BOXES}, found)


def test_a_constant_output_has_no_span_and_is_still_compared() -> None:
    constant = np.full((2, 1, 3), 7.0)
    assert pair({"x": constant}, {"x": constant})[0].steps == 0
    assert pair({"x": constant}, {"x": constant + 0.1})[0].steps > MOST_STEPS
