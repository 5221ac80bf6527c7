"""Who passes the camera: prediction → observation → event → window of each level → noised release.

Owns the tracker, the counter, the bound on contributions, the open windows and, with the guarantee `duration`, the open
chunk. All of it belongs to the pipeline's thread. Exact counts are in no attribute or text that another part can see:
what comes out are releases, whose numbers are noised.

With the guarantee `duration` tracks live within one chunk: at its end all of them are forgotten, and the chunk is
counted to the windows that are open then. Chunks follow the monotonic clock, so that no step of wall time makes one
shorter, and a chunk that was not observed to its end is not counted at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from edgeapp.config import Config
from edgeapp.escalation.policy import thresholds
from edgeapp.escalation.watch import Question, Watch
from edgeapp.telemetry import budget
from edgeapp.telemetry.budget import LEVELS, Plan
from edgeapp.telemetry.contributions import ContributionBound, Counts
from edgeapp.telemetry.levels import ClosedWindow, LevelWindow
from edgeapp.telemetry.release import Release, release
from edgeapp.tracking.counting import Counter
from edgeapp.tracking.tracker import Tracker, TrackUpdate
from edgeapp.types import LEFT, Event, Prediction


class Census:
    """Counts for one camera under one guarantee. With the guarantee `none` it counts nothing."""

    def __init__(
        self, config: Config, *, monotonic_ns: int, ask: Callable[[Question], bool] = lambda question: False
    ) -> None:
        """`ask` says whether a doubted track is asked about; `answer` is then told what came of it."""
        self._config = config
        self._watch = Watch(config.escalation, ask) if config.escalation.enabled else None
        self._privacy = config.privacy
        self._class_names: tuple[str, ...] = ()
        self._plan: Plan | None = None  # none before a model has named its classes
        self._tracker: Tracker | None = None
        self._counter = Counter(config.counting)
        is_chunked = self._privacy.guarantee == "duration"
        self._bound = ContributionBound(self._privacy.max_rows if is_chunked else None)
        self._chunk: Counts | None = Counts() if is_chunked else None
        self._chunk_ns = self._privacy.chunk_s * 10**9
        self._chunk_began_ns = monotonic_ns
        self._windows = [LevelWindow(level) for level in LEVELS]

    def begin_with(
        self, class_names: tuple[str, ...], now_ns: int, escalate_below: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        """A model with these classes runs. The tracks go on where the classes are those of the one before.

        `escalate_below` says, by class, below which mean score a track is uncertain.
        """
        if self._watch is not None:
            self._watch.begin_with(thresholds(self._config.escalation, escalate_below))
        if self._privacy.guarantee == "none" or class_names == self._class_names:
            return
        self._end_tracks(now_ns)
        self._class_names = class_names
        self._begin_tracks()
        self._make_plan()

    def follow(self, prediction: Prediction) -> None:
        """Count what a frame shows. With chunks, a frame of a chunk that is over is left out."""
        if self._tracker is None:
            return
        if self._chunk is None or 0 <= prediction.captured_ns - self._chunk_began_ns < self._chunk_ns:
            self._count(self._tracker.update(prediction), prediction.captured_ns, prediction)

    def answer(self, number: int, outcome: str) -> None:
        """Count what came of a question: to the track while it is open, else to the windows that are open now."""
        if self._watch is not None:
            self._add(self._watch.answer(number, outcome))

    def advance(self, wall_s: float, monotonic_ns: int, *, is_synchronised: bool) -> tuple[Release, ...]:
        """Look at the clocks, at least once a second; the windows whose time is over, noised."""
        if self._watch is not None:
            self._add(self._watch.expire(monotonic_ns))
        if self._chunk is not None and monotonic_ns - self._chunk_began_ns >= self._chunk_ns:
            self._end_chunk(self._chunk, monotonic_ns)
        closed = [each.advance(wall_s, monotonic_ns, is_synchronised=is_synchronised) for each in self._windows]
        return self._release(closed)

    def close(self, monotonic_ns: int, *, is_synchronised: bool) -> tuple[Release, ...]:
        """The orderly stop: the windows that were observed for more than half of their time, noised."""
        self._end_tracks(monotonic_ns)
        return self._release([each.close_now(monotonic_ns, is_synchronised=is_synchronised) for each in self._windows])

    def reconfigure(self, config: Config, now_ns: int) -> None:
        """Follow what can change live.

        Where that changes what is released, tracks and open windows begin anew: a track that is told of under two plans
        could cost more than the budget of either.
        """
        self._config = config
        if self._tracker is None:
            return
        before = self._plan
        self._make_plan()
        if self._plan == before:
            self._tracker.reconfigure(config.tracking)
            self._counter.reconfigure(config.counting)
            return
        self._end_tracks(now_ns)
        self._begin_tracks()
        for window in self._windows:
            window.forget()

    def _make_plan(self) -> None:
        wanted = self._config.tracking.classes
        counted = tuple(name for name in self._class_names if not wanted or name in wanted)
        counting = self._config.counting
        # A reload can take the last line away while the new shares wait for the restart: then there is nothing to tell.
        escalation = self._config.escalation
        can_release = bool(budget.releasable(self._privacy, counting, escalation))
        self._plan = budget.plan(self._privacy, counting, counted, escalation) if can_release else None

    def _begin_tracks(self) -> None:
        self._tracker = Tracker(self._config.tracking, self._class_names)
        self._counter = Counter(self._config.counting)

    def _end_tracks(self, now_ns: int) -> None:
        if self._watch is not None:
            self._add(self._watch.end())
        if self._tracker is not None:
            self._count(self._tracker.forget_all(), now_ns)

    def _end_chunk(self, chunk: Counts, now_ns: int) -> None:
        self._end_tracks(now_ns)
        for window in self._windows:
            if window.counts is not None:
                window.counts.merge(chunk)
        if self._tracker is not None:
            self._begin_tracks()
        self._bound.begin_chunk()
        self._chunk = Counts()
        self._chunk_began_ns += (now_ns - self._chunk_began_ns) // self._chunk_ns * self._chunk_ns

    def _count(self, update: TrackUpdate, now_ns: int, prediction: Prediction | None = None) -> None:
        events, watch = self._counter.update(update, now_ns), self._watch
        if watch is None:
            self._add(events)
            return
        lasts = [event for event in events if event.family == LEFT]
        self._add(watch.let_pass(event for event in events if event.family != LEFT))
        if prediction is not None:
            left = [track.track_id for track in update.left]
            watch.see(prediction, update.observations, left, self._class_names, self._bound.counts)
        self._add(watch.let_pass(lasts))

    def _add(self, events: Iterable[Event]) -> None:
        rows = self._bound.limit(events)
        if self._chunk is not None:
            self._chunk.add(rows)
            return
        for window in self._windows:
            if window.counts is not None:
                window.counts.add(rows)

    def _release(self, closed: list[ClosedWindow | None]) -> tuple[Release, ...]:
        plan, below = self._plan, self._privacy.suppress_below
        if plan is None:
            return ()
        return tuple(
            release(window, plan, suppress_below=below)
            for window in closed
            if window is not None and plan.releases(window.level)
        )
