"""When the next frame is due: by deadline with carry, pure.

Deadlines stand one period apart, whatever the frames do, so the mean rate is the wanted one; "every Nth frame of the
camera" would lose a fifth of the frames. A delay is carried over, but at most one period of it: after a stall there
is no burst.
"""

from __future__ import annotations

_SMOOTHING = 0.2  # of the exponential mean of busy times; about the last ten frames


class Pacer:
    """Deadlines at a wanted rate. Times are monotonic ns."""

    def __init__(self, fps: float) -> None:
        self._period_ns = round(1e9 / fps)
        self._due_ns: int | None = None
        self._busy_ns = 0.0

    def set_rate(self, fps: float, now_ns: int) -> None:
        """Change the rate; a frame is due now, the next one a new period later, however long the old one still was."""
        self._period_ns = round(1e9 / fps)
        self._due_ns = now_ns + self._period_ns

    def worked(self, busy_ns: int) -> None:
        """Tell how long a frame took to infer."""
        self._busy_ns += _SMOOTHING * (busy_ns - self._busy_ns) if self._busy_ns else busy_ns

    def next_due_ns(self, now_ns: int) -> int:
        """The deadline of the next frame; each call moves on by one period."""
        due_ns = now_ns if self._due_ns is None else max(self._due_ns, now_ns - self._period_ns)
        self._due_ns = due_ns + self._period_ns
        return due_ns

    def wanted_at_ns(self, now_ns: int, source_period_ns: int) -> int:
        """From when on a frame may be fetched for the inference that follows the one now starting.

        When the model cannot keep up, waiting for a frame only after the invoke would leave the core idle for up to a
        camera period: so the frame is fetched just before the invoke should end.
        """
        free_ns = now_ns + round(self._busy_ns)
        return max(self.next_due_ns(free_ns), free_ns - source_period_ns)
