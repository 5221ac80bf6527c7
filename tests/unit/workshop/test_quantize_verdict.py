"""The decision about a quantized model, and that it says why."""

from __future__ import annotations

import dataclasses
import html.parser
import json
from typing import Any

import pytest

from edgeapp.measure.figures import Figure
from edgeapp.measure.paired import Paired
from edgeapp.reader import read_json
from edgeapp.workshop.calibration import Cut, Evidence, Levels
from edgeapp.workshop.layers import LayerError
from edgeapp.workshop.quantize_page import page
from edgeapp.workshop.quantize_verdict import Quantization, Speed, Variant, decide, document, facts
from edgeapp.workshop.release_writer import ReleaseFacts

_DAY = Levels(low=20, median=95, high=230, shares=(1 / 64,) * 64)
_BLACK = Levels(low=0, median=3, high=9, shares=(1.0,) + (0.0,) * 63)


def _figure(value: float) -> Figure:
    return Figure(value, value - 0.02, min(value + 0.02, 1.0))


def _ap50(value: float, change: float = -0.01, before: float = 0.95) -> dict[str, Paired]:
    return {"ap50": Paired(_figure(value), _figure(before), Figure(change, change - 0.015, change + 0.015))}


def _variant(name: str, ratio: float, figures: dict[str, Paired]) -> Variant:
    speed = Speed(
        median_ms=10 * ratio, ratio=ratio, ratio_low=ratio * 0.95, ratio_high=ratio * 1.05, nodes=10, delegated=9
    )
    return Variant(name=name, size_bytes=12_000_000 if name == "float32" else 4_000_000, speed=speed, figures=figures)


def _result(ap50: float = 0.94, **changes: Any) -> Quantization:
    layers = tuple(
        LayerError(
            name=f"<layer {n}>", operator="CONV_2D", sqnr_db=20.0 + n, cut=Cut(name=f"<layer {n}>", share=0, power=0),
            effect=0.5 / (n + 1),
        )
        for n in range(20)
    )  # fmt: skip
    figures = _ap50(ap50, ap50 - 0.95)
    result = Quantization(
        model="street 3",
        metric="ap50",
        floor=0.9,
        is_labelled=True,
        data_set="street.mp4, 200 frames",
        frames=200,
        references=500,
        calibration_pictures=50,
        calibration_sha256="0" * 64,
        evidence=Evidence(samples=_DAY, evaluation=_DAY, cuts=tuple(layer.cut for layer in layers)),
        layers=layers,
        float_model=_variant("float32", 1.0, {}),
        int8=_variant("int8", 0.5, figures),
        dynamic_range=_variant("dynamic range", 4.0, _ap50(0.94)),
    )
    return dataclasses.replace(result, **changes)


_BLACK_SET = Evidence(samples=_BLACK, evaluation=_DAY, cuts=())
_OWN_GOOD = Paired(_figure(0.94), _figure(0.7), Figure(0.24, 0.2, 0.28))
_OWN_SAME = Paired(_figure(0.72), _figure(0.7), Figure(0.02, -0.02, 0.06))
_OWN_BY_A_HAIR = Paired(_figure(0.901), _figure(0.899), Figure(0.002, -0.02, 0.02))


@pytest.mark.parametrize(
    ("result", "decision", "status", "shipped", "said"),
    [
        (_result(), "ship", 0, "int8", "AP50 0.940 of at least 0.9, 2.0 times as fast as float32, 3.0 times smaller"),
        (_result(evidence=_BLACK_SET), "calibration suspicious", 4, "", "near black"),
        (_result(0.7, on_own_frames=_OWN_GOOD), "calibration suspicious", 4, "", "reaches 0.940: its pictures lack"),
        (_result(0.7, on_own_frames=_OWN_SAME), "needs training", 3, "", "calibration is not the cause"),
        (_result(0.899, on_own_frames=_OWN_BY_A_HAIR), "needs training", 3, "", "no better"),
        (_result(0.7, int8=_variant("int8", 0.5, _ap50(0.7, before=0.8))), "float misses", 5, "", "0.800 of 0.9"),
    ],
)
def test_decision_its_exit_status_and_its_reason(
    result: Quantization, decision: str, status: int, shipped: str, said: str
) -> None:
    verdict = decide(result)
    assert (verdict.decision, verdict.exit_status, verdict.shipped) == (decision, status, shipped)
    assert said in " ".join((verdict.headline, *verdict.reasons))


def test_mixed_ships_where_it_clears_and_says_what_it_costs() -> None:
    mixed = _variant("mixed", 0.6, _ap50(0.93))
    result = _result(0.7, on_own_frames=_OWN_SAME, is_mixed_tried=True, mixed=mixed, kept_float=("<layer 0>",))
    verdict = decide(result)
    assert (verdict.decision, verdict.shipped) == ("ship", "mixed")
    assert "int8 with 1 layer in float32" in verdict.headline
    assert "1.20 times as long as int8" in verdict.reasons[0]
    same = dataclasses.replace(result, mixed=_variant("mixed", 0.51, _ap50(0.93)))
    assert "as long as int8 within the scatter of this run" in decide(same).reasons[0]


def test_mixed_that_does_not_clear_is_told_and_training_is_asked_for() -> None:
    mixed = _variant("mixed", 0.6, _ap50(0.8))
    result = _result(0.7, on_own_frames=_OWN_SAME, is_mixed_tried=True, mixed=mixed, kept_float=("a", "b"))
    verdict = decide(result)
    assert verdict.decision == "needs training"
    assert any("Keeping 2 layers in float32 was tried: AP50 0.800 is not enough" in each for each in verdict.reasons)
    assert any("<layer 0> (50 %), <layer 1> (25 %)" in each for each in verdict.reasons)


def test_a_change_inside_its_interval_is_not_called_a_difference() -> None:
    assert any("no difference that 200 frames show" in reason for reason in decide(_result(0.945)).reasons)
    assert any(reason.endswith(": a difference") for reason in decide(_result(0.92)).reasons)


def test_dynamic_range_is_advised_against_with_its_speed_and_only_where_it_is_slow() -> None:
    assert "Dynamic range is advised against: it takes 40 ms, 8.0 times int8 and 4.0 times float32" in " ".join(
        decide(_result()).reasons
    )
    fast = _result(dynamic_range=_variant("dynamic range", 0.4, _ap50(0.94)))
    assert not any("advised against" in reason for reason in decide(fast).reasons)


def test_without_labels_the_yardstick_is_told_and_goes_into_the_facts() -> None:
    figures = {"agreement": Paired(_figure(0.95))}
    result = _result(is_labelled=False, metric="agreement", int8=_variant("int8", 0.5, figures))
    assert any("not how right either model is" in reason for reason in decide(result).reasons)
    assert facts(result, result.int8)["accuracy"]["metric"] == "agreement with the float model"
    assert facts(result, result.int8)["accuracy"]["float_model"] == 1.0


def test_few_frames_and_a_slow_int8_are_told() -> None:
    reasons = " ".join(decide(_result(0.91, references=12, int8=_variant("int8", 1.3, _ap50(0.91)))).reasons)
    for said in ("inside the 95 % interval", "12 things in 200 frames", "no faster than float32"):
        assert said in reasons


def test_release_create_takes_the_facts() -> None:
    result = _result()
    read = read_json(ReleaseFacts, json.dumps(facts(result, result.int8)), "facts.json")
    assert read.accuracy is not None
    assert (read.accuracy.metric, read.accuracy.quantized, read.accuracy.floor) == ("AP50", 0.94, 0.9)
    assert read.calibration_sha256 == "0" * 64


def test_page_is_whole_html_with_all_sections_and_nothing_unescaped() -> None:
    mixed = _variant("mixed", 0.6, _ap50(0.8))
    for result in (_result(), _result(0.7, mixed=mixed, kept_float=("a",)), _result(evidence=_BLACK_SET)):
        text = page(result, decide(result))
        html.parser.HTMLParser().feed(text)
        for word in ("Size, speed, accuracy", "Calibration", "Error layer by layer", "dynamic range"):
            assert word in text
        assert "<layer" not in text
    json.dumps(document(_result(), decide(_result())), allow_nan=False)
