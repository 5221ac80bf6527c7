"""A layer's own error: rounding is no fault; a shifted range, an offset, a narrow range and no numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.vision.tensor import TensorSpec, dequantize
from edgeapp.workshop.own_error import KERNELS, NO_ERROR_DB, QUANTIZED, OwnError, Tally, first_wrong, ratio_db

_SCALE = 0.02


def _spec(zero_point: int = -128) -> TensorSpec:
    return TensorSpec("t", (1, 100), "int8", _SCALE, zero_point)


def _told(expected: np.ndarray, spec: TensorSpec, found: np.ndarray | None = None) -> OwnError:
    """The error of a layer that quantizes rightly by `spec`, or gives `found`."""
    if found is None:
        numbers = np.clip(np.round(expected / spec.scale) + spec.zero_point, -128, 127).astype(np.int8)
        found = dequantize(numbers, spec)
    tally = Tally(spec)
    for right, gave in zip(expected, found, strict=True):
        tally.add(right, gave)
    return tally.error(7, "CONV_2D", "layer")


def _values(low: float = 0.0, high: float = 5.1) -> np.ndarray:
    return np.random.default_rng(1).uniform(low, high, (3, 1000))


def test_rounding_costs_a_step_over_the_root_of_twelve_and_is_no_fault() -> None:
    error = _told(_values(), _spec())
    assert error.rms_steps == pytest.approx(1 / np.sqrt(12), rel=0.05)
    assert error.worst_steps <= 0.51
    assert QUANTIZED.objection(error) == ""


@given(st.integers(48, 160))
def test_a_wrong_zero_point_is_told_with_its_size(shift: int) -> None:
    error = _told(_values(), _spec(-128 + shift))
    assert error.shift_steps == pytest.approx(shift, abs=2)
    assert f"wrong by about {error.shift_steps:.0f} steps" in QUANTIZED.objection(error)
    assert "upper end" in QUANTIZED.objection(error)


def test_one_that_lies_too_high_has_the_other_sign() -> None:
    error = _told(_values(-5.1, 0.0), _spec(127 - 60))
    assert error.shift_steps == pytest.approx(-60, abs=2)
    assert "lower end" in QUANTIZED.objection(error)


def test_a_single_outlier_beyond_a_range_that_is_used_is_no_fault() -> None:
    values = _values()
    values[0, 0] = 8.0
    error = _told(values, _spec())
    assert abs(error.shift_steps) < 1
    assert QUANTIZED.objection(error) == ""


def test_a_range_that_is_too_narrow_at_both_ends_is_told() -> None:
    error = _told(_values(-8, 8), _spec(0))
    assert "lie beyond its range" in QUANTIZED.objection(error)


def test_an_offset_is_told_with_its_sign() -> None:
    values = _values()
    error = _told(values, _spec(), values - 12 * _SCALE)
    assert "off by -12.0 steps" in QUANTIZED.objection(error)


def test_one_wrong_value_among_thousands_is_a_fault_of_kernels_only() -> None:
    values = _values()
    found = values.copy()
    found[1, 5] += 20 * _SCALE
    error = _told(values, _spec(), found)
    assert QUANTIZED.objection(error) == ""
    assert "one of its values is off by 20 steps" in KERNELS.objection(error)


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_a_fault(nonsense: float) -> None:
    values = _values()
    found = values.copy()
    found[0, 0] = nonsense
    float_spec = TensorSpec("t", (1, 100), "float32")
    error = _told(values, float_spec, found)
    assert np.isfinite(error.rms_steps)
    assert KERNELS.objection(error) == "some of its values are no numbers"


def test_float_outputs_have_255_steps_over_their_span() -> None:
    values = _values()
    error = _told(values, TensorSpec("t", (1, 100), "float32"), values + (values[0].max() - values[0].min()) / 255)
    assert error.rms_steps == pytest.approx(1.0, rel=1e-3)


def test_the_first_in_order_is_named_not_the_worst() -> None:
    plain = {"operator": "ADD", "name": "n", "worst_steps": 1.0, "mean_steps": 0.0}
    errors = tuple(OwnError(index=index, rms_steps=rms, **plain) for index, rms in enumerate((0.3, 7.0, 90.0)))
    wrong = first_wrong(errors, QUANTIZED)
    assert wrong is not None
    assert wrong[0].index == 1
    assert first_wrong(errors[:1], QUANTIZED) is None


def test_ratios_have_ends() -> None:
    assert ratio_db(100.0, 1.0) == pytest.approx(20.0)
    assert ratio_db(1.0, 0.0) == NO_ERROR_DB
    assert ratio_db(1.0, float("inf")) == -NO_ERROR_DB
    with pytest.raises(ValueError, match="found none"):
        Tally(_spec()).error(0, "ADD", "n")
