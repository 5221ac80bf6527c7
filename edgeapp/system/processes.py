"""What /proc tells of a process: its memory, and whether it is still the one that was meant; and what it is called.

A process id is used again after its process ended; id and start time together are not.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # prctl(2)
_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""For the environment: else OpenBLAS starts a thread for each processor, which spins while it waits for work."""
_M_ARENA_MAX = -8  # malloc.h of glibc
_START_TIME_FIELD = 22  # of /proc/PID/stat, proc(5), counted from 1


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    after_name = text[text.rindex(")") + 2 :].split()  # the name may hold spaces and brackets
    return int(after_name[_START_TIME_FIELD - 3])


def rss_mb(pid: int) -> float | None:
    """Resident memory in MiB; None when there is no such process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def child_environment() -> dict[str, str]:
    """The environment for a child of the daemon: without what would let it feed systemd's watchdog in its parent's
    name, or read its parent's credentials."""
    return {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}


def forget_own_variables() -> None:
    """Take from this process's environment what `child_environment` leaves out, after a fork."""
    for name in _OWN_VARIABLES:
        os.environ.pop(name, None)


def call_this_process(name: str) -> None:
    """Have `ps` and `top` show this name (15 bytes of it), which else is the interpreter's."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def leave_no_core() -> None:
    """Have this process, and its children, write no core when they crash: one of vision would hold pictures, one of
    control crops and exact counts. systemd's units forbid it, too; this is for a daemon that is started by hand.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def share_one_heap() -> None:
    """Have all threads allocate from one heap, where the C library is glibc. To be called before there are threads.

    With a heap for each thread, what one of them frees is not always given back to the system: over 200 exchanges of
    models 5 of 10 processes kept 6 to 13 MiB more, with one heap none of 8 did.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return  # another C library: nothing to do


def kill_if_same(pid: int, ticks: int) -> bool:
    """Kill the process that had this id and start time. True when it was still there."""
    if start_ticks(pid) != ticks:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def die_with_parent(parent_pid: int) -> bool:
    """Ask the kernel to kill this process when the thread that started it ends. False when it is already gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent_pid
