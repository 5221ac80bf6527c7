"""The process ends when a worker fails or stands still, and stops in time even when one hangs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from edgeapp import commands
from edgeapp.errors import ConfigError
from edgeapp.supervisor import EXIT_CONFIG, STOP_BUDGET_S, Supervisor, Worker
from edgeapp.system.heart import Heart


@pytest.fixture(autouse=True)
def _signals() -> object:
    names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(name) for name in names]
    yield
    for name, handler in zip(names, before, strict=True):
        signal.signal(name, handler)


def _nothing() -> None:
    pass


def _steady(stop: threading.Event, heart: Heart) -> None:
    while not stop.wait(0.02):
        heart.beat()


def _supervise(*workers: Worker, tick: Callable[[], None] = _nothing, reload: Callable[[], None] = _nothing) -> int:
    return Supervisor(workers, reload=reload, tick=tick, stop=threading.Event()).run()


def test_a_signal_stops_every_worker_and_the_status_is_0() -> None:
    ended: list[str] = []

    def work(stop: threading.Event, heart: Heart) -> None:
        _steady(stop, heart)
        ended.append(heart.name)

    status = _supervise(Worker("a", work, 5), Worker("b", work, 5), tick=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert status == 0
    assert sorted(ended) == ["a", "b"]


def test_an_unexpected_error_in_a_worker_ends_the_process_with_status_1() -> None:
    def fail(stop: threading.Event, heart: Heart) -> None:
        raise ZeroDivisionError

    assert _supervise(Worker("good", _steady, 5), Worker("bad", fail, 5)) == 1


def test_a_configuration_found_wrong_in_use_ends_the_process_with_status_78() -> None:
    def refuse(stop: threading.Event, heart: Heart) -> None:
        raise ConfigError("tracking.classes: expected classes of the model (person), found unicorn")

    assert _supervise(Worker("good", _steady, 5), Worker("bad", refuse, 5)) == EXIT_CONFIG == commands.EXIT_CONFIG


def test_a_worker_that_returns_early_is_a_failure() -> None:
    assert _supervise(Worker("good", _steady, 5), Worker("bad", lambda *_: None, 5)) == 1


def test_a_worker_without_progress_ends_the_process_with_status_1() -> None:
    assert _supervise(Worker("stuck", lambda stop, heart: _until(stop), 0.3)) == 1


def test_a_worker_that_hangs_cannot_hold_the_stop() -> None:
    release = threading.Event()
    began = time.monotonic()
    status = _supervise(
        Worker("deaf", lambda stop, heart: _until(release), 60), tick=lambda: os.kill(os.getpid(), signal.SIGTERM)
    )
    took_s = time.monotonic() - began
    release.set()
    assert status == 0
    assert took_s < STOP_BUDGET_S + 5


def test_sighup_reloads_and_the_work_goes_on() -> None:
    reloads: list[int] = []
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        os.kill(os.getpid(), signal.SIGHUP if not reloads else signal.SIGTERM)

    assert _supervise(Worker("a", _steady, 5), tick=tick, reload=lambda: reloads.append(1)) == 0
    assert reloads == [1]
    assert len(ticks) >= 2


def test_a_heart_beats_within_its_limit_only() -> None:
    now_s = [0.0]
    heart = Heart("a", 2.0, lambda: now_s[0])
    now_s[0] = 2.0
    assert heart.is_beating()
    now_s[0] = 2.1
    assert not heart.is_beating()
    heart.beat()
    assert heart.is_beating()


def _until(event: threading.Event) -> None:
    event.wait(30)
