"""The one place where the capture thread and the inference thread meet.

Owns three buffers and who may touch each of them when. Leaves taking pictures to `capture.py` and pacing to the
inference thread. Guarantees: the newest frame wins; nobody asks the source to decode a frame that was not wanted; and
the inference thread's frame is never written to while it is being read.

A buffer is always in exactly one of four states, and at most one buffer is in each of the last three:

    free       nobody's
    filling    the capture thread's, from `lend` to `put`; it alone may write
    waiting    the slot's; replaced by a newer frame, and then free again
    in use     the inference thread's, from `take` to its next `take`; the capture thread neither reads nor writes it

So three buffers always suffice, and no frame is copied.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from edgeapp.vision.formats import Picture


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame. Lives in `vision` alone.

    `frame_id` counts the frames that the source gave since the process started, so a gap says how many were dropped.
    `captured_ns` is CLOCK_MONOTONIC when the source gave the frame, before decoding.
    """

    frame_id: int
    captured_ns: int
    picture: Picture


class Buffer:
    """Storage for one picture; empty until the first frame, and replaced when the source's size changes."""

    __slots__ = ("picture",)

    def __init__(self) -> None:
        self.picture: Picture | None = None


class Slot:
    """A mailbox for one frame. When it is full, a newer frame replaces the waiting one, which is thereby dropped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._buffers = (Buffer(), Buffer(), Buffer())
        self._waiting: tuple[Buffer, Frame] | None = None
        self._in_use: Buffer | None = None
        self._wanted_at_ns: int | None = None
        self._is_closed = False
        self._failure: BaseException | None = None

    # The inference thread's side.

    def want(self, at_ns: int) -> None:
        """Ask for the first frame that arrives at or after this monotonic time. Holds until a frame is taken.

        May be called while a frame is in use, so that the next one is decoded beside the invoke.
        """
        with self._changed:
            self._wanted_at_ns = at_ns

    def take(self, timeout_s: float) -> Frame | None:
        """The waiting frame, or None after `timeout_s` or when the slot is closed.

        The frame that the call before returned is given back by this call: its picture may be overwritten.

        Raises:
            BaseException: what ended the capture thread, where that was not expected.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._in_use = None
            self._changed.notify_all()
            while self._waiting is None and not self._is_closed:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)
            if self._failure is not None:
                raise self._failure
            if self._waiting is None or self._is_closed:
                return None
            self._in_use, frame = self._waiting
            self._waiting = None
            self._wanted_at_ns = None
            self._changed.notify_all()
            return frame

    # The capture thread's side.

    def is_wanted(self, now_ns: int) -> bool:
        """Whether a frame that arrived at `now_ns` is to be decoded."""
        with self._changed:
            return self._wanted_at_ns is not None and now_ns >= self._wanted_at_ns

    def lend(self) -> Buffer:
        """A free buffer to fill. The capture thread holds at most one at a time; it may also never `put` it."""
        with self._changed:
            waiting = self._waiting[0] if self._waiting else None
            return next(buffer for buffer in self._buffers if buffer is not self._in_use and buffer is not waiting)

    def put(self, buffer: Buffer, frame: Frame) -> bool:
        """Hand over a filled buffer. True where it replaced a frame that nobody took, which is thus dropped."""
        with self._changed:
            is_replacing = self._waiting is not None
            self._waiting = (buffer, frame)
            self._changed.notify_all()
            return is_replacing

    def put_in_turn(self, buffer: Buffer, frame: Frame) -> bool:
        """Hand over a filled buffer once the waiting frame was taken: nothing is dropped. False when closed first."""
        with self._changed:
            while self._waiting is not None and not self._is_closed:
                self._changed.wait()
            if self._is_closed:
                return False
            self._waiting = (buffer, frame)
            self._changed.notify_all()
            return True

    # Either side.

    def fail(self, error: BaseException) -> None:
        """The capture thread ends unexpectedly: `take` raises `error` from now on, in the thread that can act on it."""
        with self._changed:
            self._failure = error
            self._is_closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everyone; from now on `take` returns None at once and nothing is handed over."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
