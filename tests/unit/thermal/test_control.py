"""The duty is what vision says it did between two of its words, whenever these are heard."""

from __future__ import annotations

import pytest

from edgeapp.config import ThermalConfig
from edgeapp.thermal.control import HeatControl
from edgeapp.thermal.decision import ThermalDecision
from edgeapp.types import Sample, ThrottleFlags

_WANTED_FPS = 10.0


class Sensors:
    """Samples that a test puts in."""

    def __init__(self, *samples: Sample) -> None:
        self.samples = samples

    def take(self) -> tuple[Sample, ...]:
        return self.samples


class Thermometer(Sensors):
    """Reads about the same all the time: with half a degree of noise, for what never moves counts as stuck."""

    def __init__(self, temp_c: float) -> None:
        super().__init__()
        self._temp_c, self._takes = temp_c, 0

    def take(self) -> tuple[Sample, ...]:
        self._takes += 1
        return (Sample(self._temp_c + 0.5 * (self._takes % 2), None),) * 8


def _control(sensors: Sensors) -> HeatControl:
    return HeatControl(ThermalConfig(), sensors, now_s=0.0, wanted_fps=_WANTED_FPS)


def _run(
    control: HeatControl, *, seconds: int, duty: float, infer_s: float, words_per_s: float = 2.0
) -> ThermalDecision:
    """Vision works at a steady duty and says so now and then; the decision at the end."""
    words = int(seconds * words_per_s)
    for word in range(words + 1):
        at_s = word / words_per_s
        control.note_work(at_s, int(at_s * duty / infer_s), at_s * duty)
        control.step(at_s, _WANTED_FPS)
    return control.decision


def test_there_is_a_rate_before_anything_was_inferred() -> None:
    assert 0 < _control(Thermometer(50.0)).decision.rate_fps <= _WANTED_FPS


@pytest.mark.parametrize("words_per_s", [0.7, 1.3, 2.0, 3.7])
def test_the_same_work_gives_the_same_rate_however_often_vision_speaks(words_per_s: float) -> None:
    """60 °C of rest, 16 °C below the target: with a rise of 14 °C the whole rate fits, whoever counts the words."""
    decision = _run(_control(Thermometer(60.0 + 14 * 0.3)), seconds=60, duty=0.3, infer_s=0.03, words_per_s=words_per_s)
    assert decision.rate_fps == _WANTED_FPS
    hot = _run(_control(Thermometer(76.0 + 14 * 0.3)), seconds=60, duty=0.3, infer_s=0.3, words_per_s=words_per_s)
    assert hot.rate_fps < 1


def test_the_first_inferences_end_the_caution_of_the_start() -> None:
    """Without a thermometer the first rate is a guess; it need not wait for the end of a period."""
    control = _control(Sensors())
    careful = control.decision.rate_fps
    assert careful < _WANTED_FPS
    control.note_work(0.1, 0, 0.0)
    assert control.step(0.5, _WANTED_FPS) is None
    control.note_work(0.6, 3, 0.03)
    decision = control.step(0.6, _WANTED_FPS)
    assert decision is not None
    assert decision.rate_fps == _WANTED_FPS


def test_a_vision_that_starts_anew_counts_from_0_again() -> None:
    control = _control(Thermometer(60.0))
    _run(control, seconds=20, duty=0.3, infer_s=0.03)
    control.vision_starts()
    control.note_work(21.0, 0, 0.0)
    control.note_work(22.0, 10, 0.3)
    decision = control.step(24.0, _WANTED_FPS)
    assert decision is not None
    assert decision.rate_fps == _WANTED_FPS


def test_a_new_wish_is_decided_on_at_once() -> None:
    control = _control(Thermometer(50.0))
    _run(control, seconds=10, duty=0.1, infer_s=0.01)
    assert control.step(10.1, 5.0) is None
    control.wanted_changes()
    decision = control.step(10.2, 5.0)
    assert decision is not None
    assert decision.rate_fps == 5.0


def test_a_flag_that_was_set_in_one_sample_only_is_not_overlooked() -> None:
    calm, weak = Sample(50.0, ThrottleFlags()), Sample(50.0, ThrottleFlags(under_voltage=True))
    control = _control(Sensors(calm, weak, calm))
    assert control.decision.flags == ThrottleFlags(under_voltage=True)
    assert "power supply" in control.decision.text
