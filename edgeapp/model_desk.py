"""Where the pipeline, which owns vision, and the installer, which owns the models on disk, meet.

Owns the wish for vision's models (a one-place mailbox: a newer wish replaces an older one), the picture of what vision
has, and the measuring of how the running model does. The pipeline's thread calls everything but `line_up` and `look`,
which are the installer's: no call ever waits for the other thread.
"""

from __future__ import annotations

from collections import deque

from edgeapp.errors import VisionLostError
from edgeapp.telemetry.latency import LatencyHistogram
from edgeapp.types import Lineup, ModelReport, Prediction
from edgeapp.updates.trial import Agreement, Conduct, Look
from edgeapp.vision import protocol
from edgeapp.vision.lineup import ModelPicture

_SPAN_S = 900.0
_REFUSALS = ("E_LOAD", "E_MANIFEST")  # about the model; whatever else vision refuses is not its fault
_MAX_DEATHS_AT_START = 3
_INNOCENT = ("refused", "unreachable")


class ModelDesk:
    """Both sides of the desk."""

    def __init__(self, configured: str | None) -> None:
        """`configured` is the only model folder where there is no installer; None where one will make its wish."""
        self._wish = self._new_wish = Lineup(() if configured is None else (configured,))
        self._picture = ModelPicture(self._wish)
        self._meter: _Meter | None = None
        self._measured = ""  # the folder whose model the meter is about
        self._crashes = self._deaths_at_start = 0
        self._look = Look()

    def line_up(self, wish: Lineup) -> None:
        """Wish for other models. Called by the installer."""
        self._new_wish = wish

    def look(self) -> Look:
        """What there is, at most half a second old. Called by the installer."""
        return self._look

    def first(self) -> str | None:
        """The model folder to start vision with; None: no model may run."""
        self._take_wish()
        return self._picture.first()

    def next_command(self) -> protocol.ModelCommand | None:
        """What to tell vision about its models now."""
        self._take_wish()
        return self._picture.next_command()

    def hear(self, message: protocol.Message, now_s: float) -> None:
        """Take what vision says about its models.

        Raises:
            ModelStateError: vision has other models than thought: start it anew.
        """
        self._picture.hear(message)
        if isinstance(message, protocol.Ready):
            self._deaths_at_start = 0
        running = self._picture.situation.running
        if running is not None and running != self._measured:
            self._measured, self._meter = running, _Meter(now_s)

    def vision_ends(self, lost: VisionLostError | None) -> None:
        """Vision is lost, or ended as it was told to."""
        if lost is not None and lost.cause == "refused" and str(lost).startswith(_REFUSALS):
            code, _, text = str(lost).partition(": ")
            self._picture.reject(code, text)
        elif lost is not None and lost.cause not in _INNOCENT and not lost.is_camera:
            self._crashes += 1
            self._count_start(str(lost))
            if self._meter is not None:
                self._meter.crashes += 1
        self._picture.lost()

    def follow(self, prediction: Prediction) -> None:
        """Measure a frame that went through the model."""
        if self._meter is not None and prediction.invoke_ms is not None:
            self._meter.add(prediction.invoke_ms)

    def note(self, now_s: float, *, throttled_s: float, rss_mb: float | None, model: ModelReport | None) -> None:
        """Measure the time between frames, and let the installer see all. `throttled_s` counts since the start."""
        meter = self._meter
        if meter is not None:
            meter.note(now_s, throttled_s, rss_mb)
        self._look = Look(
            situation=self._picture.situation,
            measured=self._measured,
            lately=meter.lately() if meter else None,
            since_begin=meter.since_begin() if meter else None,
            agreement=meter.agreement if meter else Agreement(),
            crashes=self._crashes,
            model=model,
        )

    def note_failures(self, count: int) -> None:
        """Measure frames on which the model failed."""
        if self._meter is not None:
            self._meter.fail(count)

    def note_comparison(self, compared: int, matched: int) -> None:
        """Note what the running model had in common with the other one."""
        if self._meter is not None:
            self._meter.compare(compared, matched)

    def _count_start(self, text: str) -> None:
        """A model with which vision dies again and again before it runs is as good as refused."""
        if self._picture.situation.running is None:
            self._deaths_at_start += 1
        if self._deaths_at_start >= _MAX_DEATHS_AT_START:
            self._deaths_at_start = 0
            self._picture.reject("E_LOAD_CRASH", text)

    def _take_wish(self) -> None:
        if self._new_wish is not self._wish:
            self._wish = self._new_wish
            self._picture.want(self._wish)


class _Span:
    """What is counted over a span of time."""

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.inferred = self.failures = 0
        self.throttled_s = 0.0
        self.latencies = LatencyHistogram()


class _Meter:
    """How one model does: since it runs, and lately, which is the last quarter to half of an hour. Constant memory."""

    def __init__(self, now_s: float) -> None:
        self.crashes = 0
        self.agreement = Agreement()
        self._now_s = now_s
        self._whole = _Span(now_s)
        self._lately = deque([_Span(now_s)], maxlen=2)
        self._throttled_s: float | None = None
        self._rss_mb: float | None = None

    def add(self, invoke_ms: float) -> None:
        for span in (self._whole, self._lately[-1]):
            span.inferred += 1
        self._lately[-1].latencies.add(invoke_ms)

    def fail(self, count: int) -> None:
        for span in (self._whole, self._lately[-1]):
            span.failures += count

    def compare(self, compared: int, matched: int) -> None:
        self.agreement = Agreement(self.agreement.compared + compared, self.agreement.matched + matched)

    def note(self, now_s: float, throttled_s: float, rss_mb: float | None) -> None:
        for span in (self._whole, self._lately[-1]):
            span.throttled_s += throttled_s - (throttled_s if self._throttled_s is None else self._throttled_s)
        self._now_s, self._throttled_s = now_s, throttled_s
        self._rss_mb = self._rss_mb if rss_mb is None else rss_mb
        if now_s - self._lately[-1].began_s >= _SPAN_S:
            self._lately.append(_Span(now_s))

    def since_begin(self) -> Conduct:
        return self._conduct([self._whole])

    def lately(self) -> Conduct:
        return self._conduct(list(self._lately))

    def _conduct(self, spans: list[_Span]) -> Conduct:
        """Of these spans; but the latency is always that of the last ones, when the board is as warm as it gets."""
        known = [ms for span in self._lately if (ms := span.latencies.percentile(95)) is not None]
        return Conduct(
            seconds=self._now_s - spans[0].began_s,
            inferred=sum(span.inferred for span in spans),
            failures=sum(span.failures for span in spans),
            p95_ms=max(known, default=None),
            throttled_s=sum(span.throttled_s for span in spans),
            rss_mb=self._rss_mb,
            crashes=self.crashes,
        )
