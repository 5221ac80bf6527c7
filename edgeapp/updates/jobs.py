"""Work that lasts, in a thread of its own: fetching, the self-test, verifying what must be fetched first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Job(Generic[T]):
    """One piece of work, begun at once. Whoever began it polls it; nobody waits for it."""

    def __init__(self, name: str, work: Callable[[threading.Event], T], wake: Callable[[], None]) -> None:
        """`work` gets an event that asks it to stop; `wake` is called from its thread when it has ended."""
        self._work, self._wake = work, wake
        self._stop = threading.Event()
        self._result: T | None = None
        self._error: BaseException | None = None
        self._has_ended = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def result(self) -> T:
        """What came of it, once it has ended. Raises what the work raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set where there is no error

    def stop(self) -> None:
        """Ask it to stop; its result is of no interest any more."""
        self._stop.set()

    def _run(self) -> None:
        try:
            self._result = self._work(self._stop)
        except BaseException as error:
            self._error = error
        self._has_ended = True
        self._wake()
