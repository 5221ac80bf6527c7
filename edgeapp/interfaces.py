"""What a test may replace, and nothing else: the clock, the source of frames, and the board's sensors.

Everything beyond this list is the real part in every test: real files, a real broker, a real model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeapp.types import Sample


class Clock(Protocol):
    """Wall time and monotonic time. Rules take times as arguments; only thin parts ask a clock."""

    def wall_s(self) -> float:
        """Seconds since 1970-01-01 UTC."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC in ns."""

    def is_synchronised(self) -> bool:
        """Whether wall time is known to be kept right by a time service."""


class FrameSource(Protocol):
    """One opened camera, stream, video file or folder of images.

    `grab` takes the next frame from the source without decoding it, `retrieve` decodes the frame grabbed last:
    so a dropped frame costs neither a decode nor a copy.
    """

    pixel_format: str

    def grab(self) -> bool:
        """Advance to the next frame; block until there is one. False when the source gave none.

        After the first False the source must be closed and opened anew.
        """

    def retrieve(self, buffer: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.uint8]:
        """Decode the frame grabbed last: uint8 [height, width, 3], BGR.

        Written into `buffer` where that has the right shape, else into a new array.

        Raises:
            CaptureError: the frame cannot be decoded.
        """

    def close(self) -> None:
        """Let go of the device. Safe to call twice."""


class Sensors(Protocol):
    """The board's thermometer and what the firmware does about heat and voltage, sampled by somebody else."""

    def take(self) -> tuple[Sample, ...]:
        """The samples since the last call, oldest first; () when none came. Never blocks."""
