"""What the kernel says of its clock is read from the right place."""

from __future__ import annotations

import ctypes

from edgeapp.system import clock


def test_the_status_stands_where_the_kernels_structure_has_it() -> None:
    # struct timex: modes, then four longs, then status (linux/timex.h, asm-generic layout).
    long_bytes = ctypes.sizeof(ctypes.c_long)
    assert clock.Timex.status.offset == 5 * long_bytes
    assert ctypes.sizeof(clock.Timex) >= 208


def test_the_kernel_answers_or_is_not_asked() -> None:
    assert clock.is_synchronised() in (True, False, None)
