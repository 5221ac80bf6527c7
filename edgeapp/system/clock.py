"""The real clock, and whether something keeps it right."""

from __future__ import annotations

import ctypes
import functools
import time

STA_UNSYNC = 0x0040  # linux/timex.h


class Timex(ctypes.Structure):
    """The head of struct timex (adjtimex(2)), and room for the rest of it on every architecture."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


class SystemClock:
    """Wall and monotonic time as the kernel tells them."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def is_synchronised(self) -> bool:
        """False also where the kernel does not say: what may be released rests on it."""
        return is_synchronised() is True


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def is_synchronised() -> bool | None:
    """Whether the kernel knows its clock to be kept right by a time service; None where it does not say."""
    timex = Timex()  # modes 0: only read
    try:
        state = _libc().adjtimex(ctypes.byref(timex))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else not timex.status & STA_UNSYNC
