"""A child that begins as a copy of this process, so that what is loaded already need not be loaded again.

Only for a process that has one thread: a lock that another one holds at that moment would never be let go in the child.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable


class ForkedProcess:
    """The child, waited for and ended as a `subprocess.Popen` is."""

    def __init__(self, work: Callable[[], int]) -> None:
        """Start it. It does `work`, whose result is its exit status, and nothing that this process has yet to do."""
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _end_with(work)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, negative for the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` s.
        """
        if self._status is None:
            descriptor = os.pidfd_open(self.pid)
            try:
                if not select.select([descriptor], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            finally:
                os.close(descriptor)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def kill(self) -> None:
        """End it, whatever it does. Nothing happens where it was waited for: its id may be another's by now."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)


def _end_with(work: Callable[[], int]) -> None:
    """In the child: work, and end without what the copied process would do at its own end."""
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # sys.stdin is None where it was closed
        status = work()
    except Exception:  # told here, since nobody is above
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)
