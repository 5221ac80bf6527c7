"""The fast clock of scripts/week-drill."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.fakes.week.clock import FastClock, SharedTime

BEGIN_S = 1_800_000_000.0


@pytest.fixture
def shared(tmp_path: Path) -> SharedTime:
    shared = SharedTime(tmp_path / "clock")
    shared.true_s, shared.speed = BEGIN_S, 1e12
    return shared


def _as_the_pipeline(clock: FastClock) -> tuple[float, bool]:
    found: list[tuple[float, bool]] = []
    thread = threading.Thread(target=lambda: found.append((clock.wall_s(), clock.is_synchronised())), name="pipeline")
    thread.start()
    thread.join()
    return found[0]


def test_time_waits_for_the_pipeline_and_misses_no_quarter_of_an_hour(shared: SharedTime) -> None:
    clock = FastClock(shared)
    assert _as_the_pipeline(clock)[0] == BEGIN_S
    assert [clock.wall_s() for _ in range(3)] == [BEGIN_S] * 3, "others only read it"
    assert [_as_the_pipeline(clock)[0] - BEGIN_S for _ in range(3)] == [300.0, 600.0, 900.0]
    assert SharedTime(shared.path).true_s == BEGIN_S + 900, "the drill sees it"


def test_a_step_and_a_lost_time_service_show_at_once(shared: SharedTime) -> None:
    clock = FastClock(shared)
    shared.set_clock(-7200.0, is_synchronised=True)
    assert _as_the_pipeline(clock) == (BEGIN_S - 7200, True)
    shared.set_clock(0.0, is_synchronised=False)
    assert (clock.wall_s(), clock.is_synchronised()) == (BEGIN_S, False)
    assert _as_the_pipeline(clock)[1] is False
