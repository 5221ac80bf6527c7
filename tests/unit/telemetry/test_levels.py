"""Windows of the levels: what the clock may do, and what is released whatever it does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.telemetry.budget import DAY, QUARTER
from edgeapp.telemetry.levels import ClosedWindow, LevelWindow
from edgeapp.types import ENTERED, Event
from tests.fakes.clock import FakeClock

NOON_S = 1_699_963_200.0
INDEX = int(NOON_S) // 900
PERSON = ("person",)


class Watched:
    """One level's window and the clock it is shown. Each look counts one track."""

    def __init__(self, *, synchronised: bool = True) -> None:
        self.clock = FakeClock(NOON_S, synchronised=synchronised)
        self.window = LevelWindow(QUARTER)
        self.looks = 0

    def look(self, after_s: float = 0.0) -> ClosedWindow | None:
        self.clock.advance(after_s)
        closed = self.window.advance(
            self.clock.now_s, self.clock.monotonic_ns(), is_synchronised=self.clock.synchronised
        )
        self.looks += 1
        if self.window.counts is not None:
            self.window.counts.add([Event(ENTERED, PERSON, self.looks)])
        return closed

    def stop(self, after_s: float) -> ClosedWindow | None:
        self.clock.advance(after_s)
        return self.window.close_now(self.clock.monotonic_ns(), is_synchronised=self.clock.synchronised)


def told(closed: ClosedWindow | None) -> tuple[int, int] | None:
    """Index, counted from noon, and tracks."""
    return None if closed is None else (closed.index - INDEX, closed.counts.of(ENTERED, PERSON))


def test_each_window_is_released_at_its_end_also_when_nothing_happened() -> None:
    watched = Watched()
    assert [told(watched.look(each)) for each in (0, 450, 449, 1, 900, 900)] == [
        None,
        None,
        None,
        (0, 3),
        (1, 1),
        (2, 1),
    ]


def test_nothing_is_counted_before_the_clock_is_synchronised_and_the_rest_of_the_window_is_told_with_its_seconds() -> (
    None
):
    watched = Watched(synchronised=False)
    watched.look()
    watched.look(300)
    watched.clock.synchronised = True
    watched.look(0)
    closed = watched.look(600)
    assert told(closed) == (0, 1)
    assert closed is not None
    assert closed.seconds == 600


def test_a_window_that_ends_without_a_synchronised_clock_is_forgotten() -> None:
    watched = Watched()
    watched.look()
    watched.clock.synchronised = False
    assert watched.look(900) is None
    assert watched.window.counts is None
    watched.clock.synchronised = True
    assert told(watched.look(0)) is None
    assert told(watched.look(900)) == (1, 1)


def test_a_time_service_that_is_away_for_a_moment_costs_nothing() -> None:
    watched = Watched()
    watched.look()
    watched.clock.synchronised = False
    watched.look(400)
    watched.clock.synchronised = True
    assert told(watched.look(500)) == (0, 2)


def test_a_step_forward_closes_and_leaves_out_what_nobody_observed() -> None:
    watched = Watched()
    watched.look()
    watched.clock.now_s += 10_000
    assert told(watched.look(0)) == (0, 1)
    assert told(watched.look(900)) == (11, 1)


def test_a_step_back_neither_reopens_nor_releases_again() -> None:
    watched = Watched()
    watched.look()
    assert told(watched.look(900)) == (0, 1)
    watched.clock.now_s -= 600
    assert [told(watched.look(each)) for each in (0, 300, 299)] == [None, None, None], "window 0 has been released"
    assert told(watched.look(901)) == (1, 4)


def test_a_clock_that_was_ahead_does_not_silence_the_device_until_then() -> None:
    watched = Watched()
    watched.look()
    watched.clock.now_s += 3e8
    assert told(watched.look(0)) == (0, 1)
    watched.clock.now_s -= 3e8
    assert told(watched.look(900)) is None, "what was opened under the wrong time is forgotten"
    assert told(watched.look(900)) == (1, 1)


@pytest.mark.parametrize(("seconds", "is_released"), [(449, False), (450, False), (451, True), (900, True)])
def test_an_orderly_stop_releases_what_is_more_than_half(seconds: float, is_released: bool) -> None:
    watched = Watched()
    watched.look()
    assert told(watched.stop(seconds)) == ((0, 1) if is_released else None)
    assert watched.window.counts is None


def test_an_orderly_stop_without_a_synchronised_clock_releases_nothing() -> None:
    watched = Watched()
    watched.look()
    watched.clock.synchronised = False
    assert watched.stop(800) is None


def test_a_day_begins_at_midnight_utc() -> None:
    window = LevelWindow(DAY)
    assert window.advance(NOON_S, 0, is_synchronised=True) is None
    assert window.advance(NOON_S + 43_199, 1, is_synchronised=True) is None
    closed = window.advance(NOON_S + 43_200, 2, is_synchronised=True)
    assert closed is not None
    assert closed.index == int(NOON_S) // 86_400


STEP = st.tuples(st.floats(0, 2000), st.one_of(st.just(0.0), st.floats(-1e5, 1e5)), st.booleans())


@given(st.lists(STEP, max_size=40))
def test_whatever_the_clock_does_indices_rise_and_nothing_is_told_while_it_is_not_synchronised(
    steps: list[tuple[float, float, bool]],
) -> None:
    watched = Watched()
    indices: list[int] = []
    tracks = 0
    for passed_s, step_s, synchronised in steps:
        watched.clock.now_s += step_s
        watched.clock.synchronised = synchronised
        closed = watched.look(passed_s)
        if closed is not None:
            assert synchronised
            indices.append(closed.index)
            tracks += closed.counts.of(ENTERED, PERSON)
    assert indices == sorted(set(indices))
    assert tracks <= watched.looks, "no track is told twice"
