"""What becomes of the times of every frame."""

from __future__ import annotations

import numpy as np
import pytest

from edgeapp.measure.bootstrap import interval
from edgeapp.measure.summary import BoardPoint, Recording


def _rows(latency_ms: np.ndarray) -> list[float]:
    """Frames back to back, of which decode takes a quarter and invoke the rest."""
    rows = np.zeros((len(latency_ms), 5))
    rows[:, 0] = np.cumsum(latency_ms) / 1e3
    rows[:, 1], rows[:, 3] = 0.25 * latency_ms, 0.75 * latency_ms
    return rows.ravel().tolist()


LATENCY_MS = np.random.default_rng(5).gamma(4.0, 5.0, 4000)
RECORDING = Recording(_rows(LATENCY_MS))


def test_percentiles_are_those_of_the_frames_and_lie_in_their_intervals() -> None:
    figures = RECORDING.figures()
    for name, share in (("p50_ms", 50), ("p95_ms", 95), ("p99_ms", 99)):
        figure = figures[name]
        assert figure.value == pytest.approx(np.percentile(LATENCY_MS, share), rel=0.01)
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low < figure.value < figure.high < 1.3 * figure.low
    assert figures["worst_ms"].value == pytest.approx(LATENCY_MS.max())
    assert figures["fps"].value == pytest.approx(1e3 / LATENCY_MS.mean(), rel=0.01)


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(6).normal(10.0, 2.0, 400)
    found = interval(len(values), lambda weights: float(np.average(values, weights=weights)))
    assert found is not None
    assert found[1] - found[0] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)


def test_one_frame_is_enough_for_figures_without_intervals() -> None:
    recording = Recording([0.0, 0.0, 1.0, 8.0, 1.0])
    assert recording.figures()["p95_ms"].value == 10.0
    assert recording.figures()["p95_ms"].low is None
    assert recording.histogram().counts[0] == 1
    assert len(recording.moments([])) == 1


def test_stages_that_take_no_time_are_left_out() -> None:
    assert set(RECORDING.stages_ms()) == {"decode", "invoke"}
    assert sum(RECORDING.stages_ms().values()) == pytest.approx(LATENCY_MS.mean())


def test_moments_cover_the_run_with_the_board_of_their_end() -> None:
    board = [BoardPoint(float(second), 40.0 + second, None) for second in range(100)]
    moments = RECORDING.moments(board)
    assert len(moments) <= 200
    assert 0 <= moments[-1].time_s - RECORDING.times_s[-1] <= 0.5
    assert all(moment.temp_c == 40.0 + int(moment.time_s + 1e-9) for moment in moments[5:-1])


def test_a_part_of_a_run_is_what_came_since() -> None:
    half_s = float(RECORDING.times_s[2000])
    assert np.array_equal(RECORDING.since(half_s).latency_ms, RECORDING.latency_ms[2000:])
    assert sum(RECORDING.histogram().counts) == 4000
