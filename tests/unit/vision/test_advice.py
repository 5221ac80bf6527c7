"""What a person is told of a model on this device, each with what to do about it."""

from __future__ import annotations

import dataclasses

from edgeapp.types import DelegateReport
from edgeapp.vision.advice import Weights, advice

_TAKEN = DelegateReport("xnnpack", nodes=10, delegated=9, partitions=1)
_NOT_TAKEN = DelegateReport("none", nodes=10, delegated=0, partitions=0)


def _told(report: DelegateReport, weights: Weights, *, is_wanted: bool = True, bits: int = 64) -> list[str]:
    found = advice(report, weights, is_delegate_wanted=is_wanted, userland_bits=bits)
    assert all(one.do for one in found)
    return [one.text for one in found]


def test_delegated_int8_and_float_models_need_none() -> None:
    assert _told(_TAKEN, "int8") == []
    assert _told(_TAKEN, "float") == []


def test_int8_model_that_no_delegate_took_is_told() -> None:
    (text,) = _told(_NOT_TAKEN, "int8")
    assert "any of the 10 operators" in text


def test_delegate_that_was_not_wanted_is_not_missed() -> None:
    assert _told(_NOT_TAKEN, "int8", is_wanted=False) == []


def test_unknown_coverage_is_not_told_as_none() -> None:
    assert _told(DelegateReport("unknown", 0, 0, 0), "int8") == []


def test_legacy_and_dynamic_models_are_told() -> None:
    assert "per tensor" in _told(_TAKEN, "uint8")[0]
    assert "dynamic range" in _told(_TAKEN, "dynamic")[0]


def test_a_32_bit_system_is_told() -> None:
    (text,) = _told(_TAKEN, "float", bits=32)
    assert "this system has 32 bit" in text


def test_a_library_that_does_not_run_is_told_with_the_reason() -> None:
    (text,) = _told(dataclasses.replace(_TAKEN, fell_back="/l.so: no such file"), "int8")
    assert text == "XNNPACK runs in place of the delegate library /l.so: no such file"
