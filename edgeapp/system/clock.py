"""The real clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall and monotonic time as the kernel tells them."""

    def wall_s(self) -> float:
        return time.time()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()
