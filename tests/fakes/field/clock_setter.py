"""Runs in a device, as root: sets the kernel's clock and says whether it is kept right, as a time service does.

    python -m tests.fakes.field.clock_setter SECONDS synchronised|free

adjtimex(2): STA_UNSYNC in the status says that nobody keeps the clock; the kernel sets it by itself where the largest
error that it was told of is too large.
"""

from __future__ import annotations

import ctypes
import sys
import time

from edgeapp.system.clock import STA_UNSYNC, Timex

_ADJ_MAXERROR, _ADJ_ESTERROR, _ADJ_STATUS = 0x0004, 0x0008, 0x0010


def main() -> None:
    wall_s, how = float(sys.argv[1]), sys.argv[2]
    time.clock_settime(time.CLOCK_REALTIME, wall_s)
    status = 0 if how == "synchronised" else STA_UNSYNC
    asked = Timex(modes=_ADJ_MAXERROR | _ADJ_ESTERROR | _ADJ_STATUS, maxerror=1000, esterror=1000, status=status)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(asked)) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")


if __name__ == "__main__":
    main()
