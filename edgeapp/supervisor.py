"""Keeps the daemon's workers honest: their hearts, the systemd watchdog, the signals, the orderly stop.

Owns the life of the process. Each worker is a thread with a heart that it beats when it *progresses*; the main thread
feeds the watchdog only while every heart has beaten within its own limit. Expected trouble is the worker's own to
handle. Anything unexpected ends the process with status 1, and systemd starts it fresh; a configuration that turns
out to be wrong only in use (a class that the model does not know) ends it with 78, for good. A stop takes at most
`STOP_BUDGET_S`, also when a worker hangs: then the process ends without it.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeapp.errors import ConfigError
from edgeapp.system import journal, notify
from edgeapp.system.heart import Heart

_LOGGER = logging.getLogger(__name__)
STOP_BUDGET_S = 1.7
_CHECK_PERIOD_S = 1.0
EXIT_FAILED = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h; systemd is told not to start again on it


@dataclass(frozen=True, slots=True)
class Worker:
    """A thread of the daemon. `run` gets the stop event and its heart, and returns when the event is set."""

    name: str
    run: Callable[[threading.Event, Heart], None]
    limit_s: float


class Supervisor:
    """Runs workers until a signal, a failure, or a heart that stands still. Lives on the main thread."""

    def __init__(
        self, workers: Sequence[Worker], *, reload: Callable[[], None], tick: Callable[[], None], stop: threading.Event
    ) -> None:
        """`reload` is called on SIGHUP and `tick` about once a second, both on the main thread."""
        self._workers = workers
        self._reload = reload
        self._tick = tick
        self._stop = stop
        self._status = 0
        self._must_reload = threading.Event()

    def run(self) -> int:
        """Start the workers, watch over them, stop them. The exit status of the process."""
        self._take_signals()
        hearts = [Heart(worker.name, worker.limit_s) for worker in self._workers]
        threads = [
            threading.Thread(target=self._work, args=(worker, heart), name=worker.name, daemon=True)
            for worker, heart in zip(self._workers, hearts, strict=True)
        ]
        for thread in threads:
            thread.start()
        notify.notify("READY=1")
        self._watch(hearts)
        notify.notify("STOPPING=1")
        self._join(threads)
        return self._status

    def _watch(self, hearts: Sequence[Heart]) -> None:
        period_s = min(_CHECK_PERIOD_S, notify.watchdog_period_s() or _CHECK_PERIOD_S)
        while not self._stop.wait(period_s):
            if self._must_reload.is_set():
                self._must_reload.clear()
                notify.notify_reloading()
                self._reload()
                notify.notify("READY=1")
            standing = [heart for heart in hearts if not heart.is_beating()]
            for heart in standing:
                _LOGGER.error(
                    "%s made no progress for %.0f s; the process ends to start fresh",
                    heart.name,
                    heart.limit_s,
                    extra=journal.STANDS_STILL,
                )
                self._status = EXIT_FAILED
                self._stop.set()
            if not standing:
                notify.notify("WATCHDOG=1")
            self._tick()

    def _work(self, worker: Worker, heart: Heart) -> None:
        try:
            worker.run(self._stop, heart)
            if not self._stop.is_set():
                raise RuntimeError("returned before the stop")
        except ConfigError as error:
            _LOGGER.error("%s: %s", error.code, error, extra=journal.CONFIG_REFUSED)
            self._status = EXIT_CONFIG
            self._stop.set()
        except Exception:
            _LOGGER.exception("%s failed unexpectedly; the process ends to start fresh", worker.name)
            self._status = EXIT_FAILED
            self._stop.set()

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        deadline_s = time.monotonic() + STOP_BUDGET_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            if thread.is_alive():
                _LOGGER.warning("%s did not stop in time; the process ends without it", thread.name)

    def _take_signals(self) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: self._stop.set())
        signal.signal(signal.SIGHUP, lambda *_: self._must_reload.set())
