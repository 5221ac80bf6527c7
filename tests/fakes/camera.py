"""A camera that replays arrays and has every fault of a real one, at the test's command.

Frames come one for each `tick`, so a test says exactly how many there are; with `is_free_running` they come as fast
as they are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeapp.errors import CaptureError

Picture = npt.NDArray[np.uint8]


class FakeCamera:
    """The device, which outlives its openings. `open` gives a FrameSource; the attributes count what was done to it."""

    def __init__(self, pictures: Sequence[Picture], *, is_free_running: bool = False) -> None:
        self._pictures = list(pictures)
        self._changed = threading.Condition()
        self._is_free_running = is_free_running
        self._ticks = 0
        self._is_plugged = True
        self._unplugged = 0
        self._is_hanging = False
        self._is_waiting = False
        self._torn = 0
        self._look = ""
        self.position = -1
        self.opens = 0
        self.refused_opens = 0
        self.grabs = 0
        self.retrieves = 0
        self.closes = 0

    # At the test's command.

    def tick(self, frames: int = 1) -> None:
        """Let the sensor give so many more frames."""
        with self._changed:
            self._ticks += frames
            self._changed.notify_all()

    def unplug(self) -> None:
        """From now on reading gives nothing, for good until it is opened anew, and opening is refused."""
        with self._changed:
            self._is_plugged = False
            self._unplugged += 1
            self._changed.notify_all()

    def plug(self) -> None:
        with self._changed:
            self._is_plugged = True

    def hang(self) -> None:
        """From now on `grab` blocks in the driver, whatever happens to the device, until `unhang`."""
        with self._changed:
            self._is_hanging = True

    def unhang(self) -> None:
        with self._changed:
            self._is_hanging = False
            self._changed.notify_all()

    def tear(self, frames: int) -> None:
        """The next so many frames that are retrieved cannot be decoded."""
        self._torn = frames

    def freeze(self) -> None:
        """From now on every frame is the one that came last."""
        self._look = "frozen"

    def go_black(self) -> None:
        """From now on every frame is black."""
        self._look = "black"

    def recover(self) -> None:
        """End `freeze` and `go_black`."""
        self._look = ""

    @property
    def is_idle(self) -> bool:
        """Whether a reader waits for a frame, with all earlier ones dealt with."""
        with self._changed:
            return self._is_waiting and not self._ticks

    def has_opened(self, times: int) -> bool:
        return self.opens == times

    # The driver.

    def open(self) -> FakeSource:
        """
        Raises:
            CaptureError: unplugged.
        """
        with self._changed:
            if not self._is_plugged:
                self.refused_opens += 1
                raise CaptureError("fake camera: expected to be plugged, found unplugged")
            self.opens += 1
            return FakeSource(self, self._unplugged)

    def grab(self, source: FakeSource) -> bool:
        with self._changed:
            self.grabs += 1
            while self._is_hanging or not (self._is_lost(source) or self._ticks or self._is_free_running):
                self._is_waiting = True
                self._changed.wait()
            self._is_waiting = False
            if self._is_lost(source):
                return False
            self._ticks -= not self._is_free_running
            if self._look != "frozen":
                self.position += 1
            return True

    def _is_lost(self, source: FakeSource) -> bool:
        return source.unplugged_before != self._unplugged

    def retrieve(self, buffer: Picture | None) -> Picture:
        self.retrieves += 1
        if self._torn:
            self._torn -= 1
            raise CaptureError("fake camera: frame torn")
        picture = self._pictures[self.position % len(self._pictures)]
        if self._look == "black":
            picture = np.zeros_like(picture)
        if buffer is None or buffer.shape != picture.shape:
            return picture.copy()
        np.copyto(buffer, picture)
        return buffer


class FakeSource:
    """One opening of the camera: a FrameSource."""

    pixel_format = "BGR"

    def __init__(self, camera: FakeCamera, unplugged_before: int) -> None:
        self._camera = camera
        self._is_open = True
        self.unplugged_before = unplugged_before

    def grab(self) -> bool:
        return self._camera.grab(self)

    def retrieve(self, buffer: Picture | None) -> Picture:
        return self._camera.retrieve(buffer)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._camera.closes += 1
