from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.telemetry.window import Aggregate, WindowKeeper, window_index
from edgeapp.types import Prediction

_LENGTH_S = 60
_START_S = 1_700_000_040  # a multiple of 60


def _prediction(invoke_ms: float | None = 10.0) -> Prediction:
    return Prediction(frame_id=1, captured_ns=0, predicted_ns=1, invoke_ms=invoke_ms, detections=())


class _Clocks:
    """Wall and monotonic time that a test moves, together or apart, and a keeper that looks at them every second."""

    def __init__(self, wall_s: float = _START_S, length_s: int = _LENGTH_S) -> None:
        self.wall_s = wall_s
        self.monotonic_ns = 5_000_000_000
        self.keeper = WindowKeeper(length_s, wall_s=wall_s, monotonic_ns=self.monotonic_ns)

    def step(self, seconds: float) -> None:
        self.wall_s += seconds

    def run(self, seconds: int) -> list[Aggregate]:
        closed = []
        for _ in range(seconds):
            self.wall_s += 1
            self.monotonic_ns += 1_000_000_000
            aggregate = self.keeper.advance(self.wall_s, self.monotonic_ns)
            if aggregate is not None:
                closed.append(aggregate)
        return closed


@given(st.integers(0, 10**10), st.sampled_from([5, 60, 900, 86400]))
def test_a_moment_lies_within_the_bounds_of_its_window(wall_s: int, length_s: int) -> None:
    index = window_index(wall_s, length_s)
    assert index * length_s <= wall_s < (index + 1) * length_s


def test_a_window_observed_from_start_to_end_is_complete() -> None:
    clocks = _Clocks()
    [aggregate] = clocks.run(_LENGTH_S)
    assert (aggregate.start_s, aggregate.end_s) == (_START_S, _START_S + _LENGTH_S)
    assert aggregate.seconds == pytest.approx(_LENGTH_S)
    assert aggregate.is_complete
    assert not aggregate.clock_stepped


def test_a_window_entered_in_its_middle_is_reported_as_incomplete() -> None:
    clocks = _Clocks(_START_S + 20)
    first, second = clocks.run(40 + _LENGTH_S)
    assert (first.is_complete, first.seconds, first.start_s) == (False, 40, _START_S)
    assert second.is_complete


def test_what_arrives_is_summed_up_in_the_open_window_and_forgotten_with_it() -> None:
    clocks = _Clocks()
    for latency_ms in (10.0, 20.0, None, 30.0):
        clocks.keeper.add_prediction(_prediction(latency_ms))
    clocks.keeper.add_failure()
    clocks.keeper.add_frames(captured=100, dropped=7)
    clocks.keeper.add_frames(captured=10, dropped=0)
    first, second = clocks.run(2 * _LENGTH_S)
    assert (first.n, first.failures, first.captured, first.dropped, first.max_ms) == (4, 1, 110, 7, 30.0)
    assert first.p50_ms == pytest.approx(20.0, rel=0.02)
    assert (second.n, second.failures, second.captured, second.dropped, second.max_ms) == (0, 0, 0, 0, None)


def test_predictions_without_inference_count_but_have_no_latency() -> None:
    clocks = _Clocks()
    clocks.keeper.add_prediction(_prediction(None))
    [aggregate] = clocks.run(_LENGTH_S)
    assert (aggregate.n, aggregate.p50_ms, aggregate.p99_ms, aggregate.max_ms) == (1, None, None, None)


def test_a_window_without_a_frame_is_reported() -> None:
    [first, second] = _Clocks().run(2 * _LENGTH_S)
    assert (first.n, second.n) == (0, 0)
    assert second.index == first.index + 1


def test_a_jump_over_several_windows_closes_only_the_open_one() -> None:
    clocks = _Clocks()
    clocks.run(10)
    clocks.step(100 * _LENGTH_S)
    closed = clocks.run(1)
    assert [(aggregate.start_s, aggregate.clock_stepped, aggregate.is_complete) for aggregate in closed] == [
        (_START_S, True, False)
    ]
    assert clocks.keeper.next_close_s == _START_S + 101 * _LENGTH_S


def test_a_clock_set_back_keeps_the_window_open_until_its_end_has_passed_again() -> None:
    clocks = _Clocks()
    clocks.run(50)
    clocks.step(-30)
    assert clocks.run(39) == []
    [aggregate] = clocks.run(1)
    assert (aggregate.start_s, aggregate.clock_stepped, aggregate.is_complete) == (_START_S, True, False)
    assert aggregate.seconds == pytest.approx(90)
    [following] = clocks.run(_LENGTH_S)
    assert following.is_complete


def test_a_device_whose_clock_was_years_ahead_goes_on_reporting() -> None:
    clocks = _Clocks()
    clocks.run(10)
    clocks.step(-10 * 365 * 86400)
    closed = clocks.run(10 * _LENGTH_S)
    assert [aggregate.index for aggregate in closed] == [_START_S // _LENGTH_S] * 5
    assert all(aggregate.clock_stepped and not aggregate.is_complete for aggregate in closed)


def test_a_slewed_clock_is_not_a_stepped_one() -> None:
    clocks = _Clocks()
    for _ in range(_LENGTH_S):
        clocks.step(0.0005)  # the kernel slews at 500 ppm at most
        clocks.run(1)
    [aggregate] = clocks.run(_LENGTH_S)
    assert not aggregate.clock_stepped


def test_closing_at_the_stop_tells_how_long_was_observed() -> None:
    clocks = _Clocks()
    clocks.run(25)
    clocks.keeper.add_prediction(_prediction())
    aggregate = clocks.keeper.close_now(clocks.monotonic_ns)
    assert (aggregate.n, aggregate.is_complete) == (1, False)
    assert aggregate.seconds == pytest.approx(25)


_MOVES = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 200)), max_size=20)


@given(_MOVES)
def test_whatever_the_clock_does_the_index_never_decreases_and_nothing_is_counted_twice(
    moves: list[tuple[float, int]],
) -> None:
    clocks = _Clocks(wall_s=1e9)
    closed: list[Aggregate] = []
    added = 0
    for step_s, seconds in moves:
        clocks.step(step_s)
        closed += clocks.run(seconds)
        clocks.keeper.add_prediction(_prediction())
        added += 1
    closed.append(clocks.keeper.close_now(clocks.monotonic_ns))
    indices = [aggregate.index for aggregate in closed]
    assert indices == sorted(indices)
    assert sum(aggregate.n for aggregate in closed) == added
    assert sum(aggregate.seconds for aggregate in closed) == pytest.approx(sum(seconds for _, seconds in moves))
    assert all(aggregate.seconds <= 2 * _LENGTH_S for aggregate in closed)
