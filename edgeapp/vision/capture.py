"""The capture thread: opens the source, drains it, hands wanted frames to the slot, opens it again when it fails.

Owns the source and its recovery. Leaves what a source is to `sources.py` and which frame is wanted to the inference
thread, through the slot. Guarantees: the first failed read closes the source and opens it anew, with full-jitter
backoff that begins small; a frame that nobody wants is neither decoded nor copied; and `health` tells a read that
hangs in a driver, because the reader of `health` works that out: the hanging thread itself cannot.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.interfaces import FrameSource
from edgeapp.system.backoff import Backoff
from edgeapp.types import CaptureHealth
from edgeapp.vision.formats import Size
from edgeapp.vision.picture import raw_size_for
from edgeapp.vision.slot import Frame, Slot
from edgeapp.vision.sources import open_source

_LOGGER = logging.getLogger(__name__)

_FIRST_RETRY_S = 0.2
_MAX_RETRY_S = 10.0
_MAX_RETRY_NETWORK_S = 30.0
_GOOD_NS = 1_000_000_000  # frames for this long prove that the source works again
_MAX_UNREADABLE_IN_A_ROW = 30
_STALL_S, _STALL_PERIODS = 2.0, 3.0
_OPEN_LIMIT_S = 15.0  # above what an RTSP connection and a slow USB camera are given
_RATE_WINDOW_NS = 2_000_000_000
_RATE_FRAMES = 256
_BURST_NS = 500_000_000
_STOP_BUDGET_S = 2.0


class CaptureState(StrEnum):
    """How the capture does. `ENDED`: a recording that is not to be repeated came to its end."""

    OPENING = "opening"
    RUNNING = "running"
    RETRYING = "retrying"
    STALLED = "stalled"
    ENDED = "ended"


class RateMeter:
    """Frames per second over the last two seconds, or over the last two frames where these are further apart.

    The first half second does not count: a stream begins with a burst of what was sent while it was being opened.
    """

    def __init__(self) -> None:
        self._times_ns: deque[int] = deque(maxlen=_RATE_FRAMES)
        self._first_ns: int | None = None
        self.fps = 0.0

    def tick(self, now_ns: int) -> None:
        if self._first_ns is None:
            self._first_ns = now_ns
        if now_ns - self._first_ns < _BURST_NS:
            return
        times = self._times_ns
        times.append(now_ns)
        while len(times) > 2 and now_ns - times[0] > _RATE_WINDOW_NS:
            times.popleft()
        span_ns = now_ns - times[0]
        self.fps = (len(times) - 1) * 1e9 / span_ns if span_ns > 0 else 0.0

    def clear(self) -> None:
        self._times_ns.clear()
        self._first_ns = None
        self.fps = 0.0


class Capture:
    """The capture thread and its counters. The counters are written by that thread alone; anyone may read them."""

    def __init__(
        self,
        config: CameraConfig,
        slot: Slot,
        *,
        min_size: Size,
        open_camera: Callable[[], FrameSource] | None = None,
        backoff: Backoff | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`min_size` is the least width and height that the model needs of the picture after crop and rotation."""
        self._config = config
        self._min_size = self._fitted_size = min_size
        self._slot = slot
        self._stop = threading.Event()
        self._open_camera = open_camera or (
            lambda: open_source(config, min_size=self._fitted_size, wait=self._stop.wait)
        )
        self._monotonic_ns = monotonic_ns
        self._is_fast = config.kind in ("video", "images") and config.replay == "fast"
        longest_s = _MAX_RETRY_NETWORK_S if config.kind == "rtsp" else _MAX_RETRY_S
        self._backoff = backoff or Backoff(_FIRST_RETRY_S, longest_s, random.random)
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._state = CaptureState.OPENING
        self._open_since_ns: int | None = None
        self._read_since_ns: int | None = None
        self._rate = RateMeter()
        self._source_fps = 0.0
        self._size: Size = (0, 0)
        self._pixel_format = ""
        self._error = ""
        self._first_good_ns: int | None = None
        self._unreadable_in_a_row = 0
        self.frames_captured = 0
        self.frames_dropped = 0
        self.reopened = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, budget_s: float = _STOP_BUDGET_S) -> bool:
        """End the thread; False where it hangs in a driver. It is a daemon and holds back no process that exits."""
        self._stop.set()
        self._slot.close()
        if self._thread.is_alive():
            self._thread.join(budget_s)
        return not self._thread.is_alive()

    def need(self, min_size: Size) -> None:
        """Models of other sizes are loaded, which need at least this. The next frame to be read will have it."""
        self._min_size = min_size

    @property
    def source_period_ns(self) -> int:
        """The time from frame to frame: as measured, or as the source promised while nothing is measured yet."""
        return round(1e9 / (self._rate.fps or self._source_fps or self._config.fps))

    def health(self, now_ns: int) -> CaptureHealth:
        """How the capture does at `now_ns`; `picture` is always ok here, for the pictures are judged elsewhere.

        `error` is the trouble of now: it is emptied once frames have come for a second again.
        """
        dropped, captured = self.frames_dropped, self.frames_captured  # in this order: dropped never exceeds captured
        state = self._state_at(now_ns)
        return CaptureHealth(
            state=state.value,
            picture="ok",
            frames_captured=captured,
            frames_dropped=dropped,
            reopened=self.reopened,
            source_fps=self._rate.fps if state is CaptureState.RUNNING else 0.0,
            width=self._size[0],
            height=self._size[1],
            pixel_format=self._pixel_format,
            error=self._error,
        )

    def _state_at(self, now_ns: int) -> CaptureState:
        open_since_ns, read_since_ns = self._open_since_ns, self._read_since_ns
        if open_since_ns is not None and now_ns - open_since_ns > _OPEN_LIMIT_S * 1e9:
            return CaptureState.STALLED
        if read_since_ns is not None and now_ns - read_since_ns > self._stall_limit_s() * 1e9:
            return CaptureState.STALLED
        return self._state

    def _stall_limit_s(self) -> float:
        # A camera halves its rate in the dark, so the slowest of what was asked, promised and measured counts.
        known = (self._config.fps, self._source_fps, self._rate.fps)
        return max(_STALL_S, _STALL_PERIODS / min(fps for fps in known if fps > 0))

    # From here on everything runs in the capture thread.

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and self._state is not CaptureState.ENDED:
                try:
                    self._open_and_read()
                except CaptureError as error:
                    self._fail(error)
                    self._stop.wait(self._backoff.next_s())
        except BaseException as error:
            # The inference thread raises it from `take` and ends the process; this thread has nobody to tell.
            _LOGGER.exception("capture ends unexpectedly")
            self._slot.fail(error)

    def _open_and_read(self) -> None:
        """One life of the source: open it, read it until it fails, ends or is to stop, close it.

        Raises:
            CaptureError: it cannot be opened, or it failed.
        """
        source = self._open()
        try:
            while not self._stop.is_set() and self._state is not CaptureState.ENDED:
                self._read(source)
        finally:
            self._read_since_ns = self._monotonic_ns()  # closing a device can hang as well as reading it
            try:
                source.close()
            finally:
                self._read_since_ns = None

    def _open(self) -> FrameSource:
        self._open_since_ns = self._monotonic_ns()
        self._fitted_size = self._min_size
        try:
            source = self._open_camera()
        finally:
            self._open_since_ns = None
        if self._state is CaptureState.RETRYING:
            self.reopened += 1
        self._source_fps = float(getattr(source, "fps", 0.0))
        self._pixel_format = source.pixel_format
        self._rate.clear()
        self._first_good_ns = None
        return source

    def _read(self, source: FrameSource) -> None:
        """One frame: wait for it, then decode and hand it over, or drop it."""
        self._read_since_ns = self._monotonic_ns()
        if not source.grab():
            if not getattr(source, "has_ended", False):
                raise CaptureError(f"{self._config.kind} source gave no frame: unplugged, or its stream broke off")
            self._state = CaptureState.ENDED
            _LOGGER.info("the recording has ended after %d frames", self.frames_captured)
            return
        now_ns = self._monotonic_ns()
        self.frames_captured += 1
        self._rate.tick(now_ns)
        if self._is_fast or self._slot.is_wanted(now_ns):
            self._decode(source, now_ns)
        else:
            self.frames_dropped += 1
            self._good(now_ns)

    def _fit(self, source: FrameSource) -> None:
        """Let a source that decodes JPEGs reduced follow the model's size."""
        self._fitted_size = self._min_size
        reduce_to = getattr(source, "reduce_to", None)
        if reduce_to is not None:
            reduce_to(raw_size_for(self._config, self._fitted_size))
            self._pixel_format = source.pixel_format

    def _decode(self, source: FrameSource, captured_ns: int) -> None:
        if self._min_size != self._fitted_size:
            self._fit(source)
        buffer = self._slot.lend()
        try:
            picture = source.retrieve(buffer.picture)
        except CaptureError as error:
            self._count_unreadable(error)
            return
        # The inference may be slow to take the frame in a fast replay: that is no stall of the source.
        self._read_since_ns = None
        buffer.picture = picture
        # What the source granted; the picture itself may be a JPEG decoded reduced.
        height, width = picture.shape[:2]
        self._size = (int(getattr(source, "width", 0) or width), int(getattr(source, "height", 0) or height))
        self._unreadable_in_a_row = 0
        self._good(captured_ns)
        frame = Frame(self.frames_captured, captured_ns, picture)
        is_dropping = not self._slot.put_in_turn(buffer, frame) if self._is_fast else self._slot.put(buffer, frame)
        self.frames_dropped += is_dropping

    def _count_unreadable(self, error: CaptureError) -> None:
        """One torn frame is no failure of the source; many in a row are.

        A folder of images is exempt: opening it anew would only begin with the same files again.
        """
        self.frames_dropped += 1
        self._unreadable_in_a_row += 1
        self._error = f"{error.code}: {error}"
        _LOGGER.debug("frame %d: %s", self.frames_captured, error)
        if self._unreadable_in_a_row >= _MAX_UNREADABLE_IN_A_ROW and self._config.kind != "images":
            count, self._unreadable_in_a_row = self._unreadable_in_a_row, 0
            raise CaptureError(f"{count} frames in a row cannot be decoded, the last: {error}") from error

    def _good(self, now_ns: int) -> None:
        """Frames come. After a second of them all is well again."""
        if self._unreadable_in_a_row:
            return
        if self._first_good_ns is None:
            self._first_good_ns = now_ns
            if self._state is CaptureState.RETRYING:
                _LOGGER.info("%s source gives frames again", self._config.kind)
            self._state = CaptureState.RUNNING
        elif now_ns - self._first_good_ns >= _GOOD_NS:
            self._backoff.reset()
            self._error = ""

    def _fail(self, error: CaptureError) -> None:
        text = f"{error.code}: {error}"
        if self._state is not CaptureState.RETRYING or text != self._error:
            _LOGGER.warning("%s; trying again", text)
        self._error = text
        self._state = CaptureState.RETRYING
        self._rate.clear()
