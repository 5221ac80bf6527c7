"""What speaks against a calibration: pictures with nothing in them, and layers that cut off what they never saw."""

from __future__ import annotations

import re

import pytest

from edgeapp.workshop.calibration import Cut, Evidence, Levels, levels_of, suspicions

_DAY = Levels(low=20, median=95, high=230)


def _evidence(samples: Levels = _DAY, saturating: int = 0, layers: int = 60) -> Evidence:
    cuts = tuple(Cut(name=f"layer{n}", share=0.1, power=n + 2.0 if n < saturating else 0.9) for n in range(layers))
    return Evidence(samples=samples, evaluation=_DAY, cuts=cuts)


def test_levels_are_those_that_1_50_and_99_of_100_pixels_reach() -> None:
    counts = [0] * 256
    counts[10], counts[20], counts[30], counts[200] = 1, 49, 49, 1
    found = levels_of(counts)
    assert (found.low, found.median, found.high) == (10, 20, 30)
    assert sum(found.shares) == pytest.approx(1)
    assert found.shares[200 // 4] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="none"):
        levels_of([0] * 256)


def test_a_sound_calibration_raises_no_suspicion() -> None:
    assert suspicions(_evidence()) == ()
    assert suspicions(_evidence(saturating=10)) == ()  # of 60: it happens with any pictures


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (Levels(low=0, median=3, high=9), "near black: .*between levels 0 and 9 of 255.*between 20 and 230"),
        (Levels(low=240, median=250, high=255), "near white"),
        (Levels(low=100, median=110, high=120), "of one shade"),
    ],
)
def test_pictures_with_next_to_nothing_in_them_are_named(samples: Levels, said: str) -> None:
    (reason,) = suspicions(_evidence(samples))
    assert re.search(said, reason)


@pytest.mark.parametrize(
    ("median", "said"),
    [(40, "darker .*median level 40 against 95"), (200, "brighter"), (90, "too few, or not like")],
)
def test_many_saturating_layers_are_told_with_the_worst_and_why(median: int, said: str) -> None:
    (reason,) = suspicions(_evidence(Levels(low=5, median=median, high=220), saturating=11))
    assert "11 of 60 layers" in reason
    assert "worst: layer10, 12 times" in reason
    assert re.search(said, reason)


def test_one_layer_of_a_small_model_is_no_evidence() -> None:
    assert suspicions(_evidence(saturating=1, layers=3)) == ()
    assert suspicions(_evidence(saturating=2, layers=3))
