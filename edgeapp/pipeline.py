"""The way of a frame through control: prediction → observation → window → aggregate → message → spool.

Owns the vision process (through its client), the window of inference statistics, the census, which counts who passes,
and the reporter, which makes messages of both: all of them belong to one thread, `run`. When vision is lost, the cause
is counted and it is started again with full-jitter backoff; the tracks and the open windows live on meanwhile.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections import Counter as Multiset
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgeapp.census import Census
from edgeapp.config import Config
from edgeapp.config_change import differences, effect
from edgeapp.errors import ModelStateError, VisionLostError
from edgeapp.escalation.outbox import Outbox
from edgeapp.escalator import Escalator
from edgeapp.interfaces import Clock, Sensors
from edgeapp.model_desk import ModelDesk
from edgeapp.reporter import Reporter
from edgeapp.status import Trouble
from edgeapp.system import journal, processes
from edgeapp.system.backoff import Backoff
from edgeapp.system.heart import Heart
from edgeapp.telemetry.drift import DriftReport
from edgeapp.telemetry.message import HeatState, SystemState
from edgeapp.telemetry.release import Release
from edgeapp.telemetry.spool import Spool
from edgeapp.telemetry.window import WindowKeeper
from edgeapp.thermal.control import HeatControl
from edgeapp.thermal.decision import ThermalDecision
from edgeapp.types import CaptureHealth, ModelReport, Prediction
from edgeapp.vision import protocol
from edgeapp.vision.choice import InferenceChoice
from edgeapp.vision.client import VisionClient
from edgeapp.vision.process import VisionProcess

_LOGGER = logging.getLogger(__name__)
_HEAR_S, _LOOK_S = 0.25, 0.5
_FIRST_RESTART_S, _MAX_RESTART_S = 0.1, 30.0
_GOOD_RUN_S = 10.0  # after this long the next restart begins with the shortest delay again
_RECENT_S, _RECENT_FRAMES = 10.0, 300


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineHealth:
    """How the pipeline does, for the status. Nothing in it depends on who passes the camera, but for `drift`, which is
    judged from released counts.

    `p50_ms` and `p99_ms` are of the invoke alone, `latency_…` from the capture of a frame to its observation; both over
    the last frames that were inferred.
    """

    camera: CaptureHealth | None = None
    model: ModelReport | None = None
    heat: ThermalDecision
    vision_pid: int | None = None
    vision_restarts: dict[str, int] = field(default_factory=dict)
    fps: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    frames_inferred: int = 0
    failures: int = 0
    next_report_s: float = 0.0
    drift: DriftReport | None = None
    trouble: Trouble | None = None


class Pipeline:
    """Everything that happens to a prediction in control."""

    def __init__(
        self,
        config: Config,
        *,
        boot: str,
        clock: Clock,
        sensors: Sensors,
        spool: Spool,
        on_report: Callable[[], None],
        desk: ModelDesk,
        outbox: Outbox | None = None,
        first_vision: VisionProcess | None = None,
    ) -> None:
        """`on_report` is called when a report is in the spool; `desk` says which models are to run; `outbox` takes what
        is escalated; `first_vision` is a process that was started ahead.
        """
        self._config, self._clock = config, clock
        self._reporter = Reporter(config, boot=boot, clock=clock, spool=spool, on_report=on_report)
        self._new_config: Config | None = None  # a one-place mailbox: a newer one replaces an older one
        self._desk = desk
        self._look_at_ns = self._tend_at_ns = 0
        self._vision = VisionClient(config, first_vision)
        self._choice = InferenceChoice()
        self._backoff = Backoff(_FIRST_RESTART_S, _MAX_RESTART_S, random.random)
        self._is_running = False
        self._started_ns = self._start_at_ns = self._began_ns = clock.monotonic_ns()
        self._heat = HeatControl(
            config.thermal, sensors, now_s=clock.monotonic_ns() / 1e9, wanted_fps=config.inference.max_fps
        )
        self._throttled_before_s = 0.0
        self._escalator = Escalator(config, clock, outbox, self._vision.order)
        self._census = Census(config, monotonic_ns=clock.monotonic_ns(), ask=self._escalator.ask)
        self._window = WindowKeeper(config.telemetry.window_s, wall_s=clock.wall_s(), monotonic_ns=clock.monotonic_ns())
        self._last_health: protocol.Health | None = None
        self._model: ModelReport | None = None
        self._restarts: Multiset[str] = Multiset()
        self._trouble: Trouble | None = None
        self._predicted_ns: deque[int] = deque()
        self._invokes_ms: deque[float] = deque(maxlen=_RECENT_FRAMES)
        self._latencies_ms: deque[float] = deque(maxlen=_RECENT_FRAMES)
        self._frames_inferred = self._failures = 0

    def run(self, stop: threading.Event, heart: Heart) -> None:
        """Work until told to stop; then end vision and keep what the open window has."""
        try:
            while not stop.is_set():
                heart.beat()
                self._take_new_config()
                message = self._hear(stop)
                # What comes with every frame is dear at 30 frames a second: clocks are looked at four times.
                is_time = not isinstance(message, Prediction) or self._clock.monotonic_ns() >= self._tend_at_ns
                if is_time:
                    self._govern()
                    # First the windows, so that what has just come counts to the one it came in.
                    self._advance()
                if message is not None:
                    self._handle(message)
                if is_time:
                    self._tend()
            self._close()
        finally:
            self._vision.end(kindly=True)
        self._reporter.keep(is_last_chance=True)

    def _tend(self) -> None:
        """Look after all that is not a frame's: models, escalation, the reports that wait for the spool."""
        self._tend_at_ns = self._clock.monotonic_ns() + round(_HEAR_S * 1e9)
        self._attend_models()
        is_hot = self._heat.decision.state.is_hot
        self._escalator.attend(self._census.answer, is_hot=is_hot, is_running=self._is_running)
        if (error := self._reporter.keep()) is not None:
            self._trouble = Trouble(self._clock.wall_s(), error.code, str(error))

    def reconfigure(self, config: Config) -> None:
        """Follow a new configuration as far as it can change live. Called from another thread."""
        self._new_config = config

    def health(self) -> PipelineHealth:
        """A snapshot, for another thread."""
        invokes, latencies = sorted(self._invokes_ms.copy()), sorted(self._latencies_ms.copy())
        since_ns = self._clock.monotonic_ns() - round(_RECENT_S * 1e9)
        recent = [at_ns for at_ns in self._predicted_ns.copy() if at_ns >= since_ns]
        return PipelineHealth(
            camera=self._last_health.capture if self._last_health else None,
            model=self._model,
            heat=self._heat.decision,
            vision_pid=self._vision.pid,
            vision_restarts=dict(self._restarts),
            fps=_rate(recent),
            p50_ms=_share(invokes, 0.50),
            p99_ms=_share(invokes, 0.99),
            latency_p50_ms=_share(latencies, 0.50),
            latency_p99_ms=_share(latencies, 0.99),
            frames_inferred=self._frames_inferred,
            failures=self._failures,
            next_report_s=self._window.next_close_s,
            drift=self._reporter.drift,
            trouble=self._trouble,
        )

    def _hear(self, stop: threading.Event) -> protocol.Message | None:
        """The next message of vision, which is started first where it does not run."""
        try:
            if not self._is_running:
                wait_s = (self._start_at_ns - self._clock.monotonic_ns()) / 1e9
                if wait_s > 0:
                    stop.wait(min(wait_s, _HEAR_S))
                    return None
                if not self._start_vision():
                    stop.wait(_HEAR_S)
                    return None
            return self._vision.receive(_HEAR_S)
        except VisionLostError as lost:
            self._lose_vision(lost)
            return None

    def _govern(self) -> None:
        """Run at the rate that the heat allows, on the newest frames."""
        before = self._heat.decision
        decision = self._heat.step(self._clock.monotonic_ns() / 1e9, self._config.inference.max_fps)
        if decision is None:
            return
        if decision.state is not before.state or decision.source is not before.source:
            level = logging.WARNING if decision.state.is_hot else logging.INFO
            _LOGGER.log(level, "heat: %s", decision.text, extra=journal.HEAT_CHANGED)
        if decision.rate_fps != before.rate_fps and self._is_running:
            self._vision.set_rate(decision.rate_fps)

    def _start_vision(self) -> bool:
        """Start vision with the first model that may run; False where none may."""
        folder = self._desk.first()
        if folder is None:
            return False
        self._started_ns = self._clock.monotonic_ns()
        self._is_running = True
        self._last_health = None
        self._heat.vision_starts()
        config = replace(self._config, inference=replace(self._config.inference, model_dir=folder))
        self._vision.start(self._config, *self._choice.for_vision(config))
        self._vision.set_rate(self._heat.decision.rate_fps)
        return True

    def _lose_vision(self, lost: VisionLostError) -> None:
        self._vision.end(kindly=False)
        self._is_running = False
        self._restarts[lost.cause] += 1
        self._choice.vision_was_lost(lost)
        self._desk.vision_ends(lost)
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._started_ns > _GOOD_RUN_S * 1e9:
            self._backoff.reset()
        delay_s = self._backoff.next_s()
        self._start_at_ns = now_ns + round(delay_s * 1e9)
        self._trouble = Trouble(self._clock.wall_s(), lost.code, str(lost))
        _LOGGER.warning("%s: %s; started again in %.1f s", lost.cause, lost, delay_s, extra=journal.VISION_LOST)

    def _attend_models(self) -> None:
        """Have vision load, switch and free models as is wished, and let who wishes see how they do."""
        command = self._desk.next_command() if self._is_running else None
        if command is not None:
            self._vision.order(command)
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._look_at_ns:
            self._look_at_ns = now_ns + round(_LOOK_S * 1e9)
            self._desk.note(
                now_ns / 1e9,
                throttled_s=self._heat.decision.counters.seconds_throttled,
                rss_mb=self._vision_rss_mb(),
                model=self._model,
            )

    def _handle(self, message: protocol.Message) -> None:
        try:
            self._desk.hear(message, self._clock.monotonic_ns() / 1e9)
        except ModelStateError as error:
            self._lose_vision(VisionLostError("nonsense", f"{error.code}: {error}"))
            return
        self._escalator.hear(message)
        if isinstance(message, Prediction):
            self._follow(message)
        elif isinstance(message, protocol.Health):
            self._note_health(message)
        elif isinstance(message, protocol.Ready):
            took_s = (self._clock.monotonic_ns() - self._started_ns) / 1e9
            self._begin_with(message.model, f"after {took_s:.1f} s")
        elif isinstance(message, protocol.Switched):
            self._begin_with(message.model, f"from frame {message.frame_id} on")
        elif isinstance(message, protocol.CandidateReady):
            name, version = message.model.name, message.model.version
            _LOGGER.info("candidate %s %d stands by, loaded in %.0f ms", name, version, message.load_ms)
        elif isinstance(message, protocol.CandidateFailed):
            self._trouble = Trouble(self._clock.wall_s(), message.code, message.text)
            _LOGGER.warning("candidate: %s: %s", message.code, message.text)

    def _follow(self, prediction: Prediction) -> None:
        """prediction → observation → window."""
        self._window.add_prediction(prediction)
        self._desk.follow(prediction)
        self._census.follow(prediction)
        self._predicted_ns.append(prediction.predicted_ns)
        while self._predicted_ns[0] < prediction.predicted_ns - _RECENT_S * 1e9:
            self._predicted_ns.popleft()
        if prediction.invoke_ms is not None:
            self._invokes_ms.append(prediction.invoke_ms)
            self._latencies_ms.append((self._clock.monotonic_ns() - prediction.captured_ns) / 1e6)

    def _note_health(self, health: protocol.Health) -> None:
        """Vision's counters run since its start; the window gets what was added since the last time."""
        last, now = self._last_health, health.capture
        captured, dropped = now.frames_captured, now.frames_dropped
        inferred, failures = health.inferred, health.failures
        compared, matched = health.compared, health.matched
        if last is not None:
            captured -= last.capture.frames_captured
            dropped -= last.capture.frames_dropped
            inferred -= last.inferred
            failures -= last.failures
            compared -= last.compared
            matched -= last.matched
        self._frames_inferred += inferred
        self._heat.note_work(self._clock.monotonic_ns() / 1e9, health.inferred, health.inferring_s)
        self._window.add_frames(captured, dropped)
        for _ in range(failures):
            self._window.add_failure()
        self._failures += failures
        self._desk.note_failures(failures)
        self._desk.note_comparison(compared, matched)
        if now.error and (last is None or last.capture.error != now.error):
            self._trouble = Trouble(self._clock.wall_s(), "E_CAMERA", now.error)
        self._last_health = health

    def _begin_with(self, model: ModelReport, when: str) -> None:
        """A model runs, new or in place of another."""
        self._census.begin_with(model.classes, self._clock.monotonic_ns(), model.escalate_below)
        self._model = model
        self._choice.model_runs(model)
        self._heat.model_changes()
        how = f"{model.runtime}, {model.delegate}"
        _LOGGER.info("model %s %d runs %s: %s", model.name, model.version, when, how, extra=journal.MODEL_RUNS)
        for one in model.advice:
            _LOGGER.warning("model: %s; %s", one.text, one.do)

    def _advance(self) -> None:
        """window → aggregate, or → release, for the windows whose time is over."""
        wall_s, now_ns = self._clock.wall_s(), self._clock.monotonic_ns()
        aggregate = self._window.advance(wall_s, now_ns)
        if aggregate is not None:
            self._reporter.report(aggregate, self._model, self._system_state())
        for release in self._census.advance(wall_s, now_ns, is_synchronised=self._clock.is_synchronised()):
            self._report_counts(release)

    def _close(self) -> None:
        """window → aggregate, or → release, before their time: the daemon stops."""
        now_ns = self._clock.monotonic_ns()
        self._reporter.report(self._window.close_now(now_ns), self._model, self._system_state())
        for release in self._census.close(now_ns, is_synchronised=self._clock.is_synchronised()):
            self._report_counts(release)

    def _report_counts(self, release: Release) -> None:
        assert self._model is not None, "without a model there are no classes to plan a release of"
        self._reporter.report_counts(release, self._model)

    def _system_state(self) -> SystemState:
        known = [each for each in (processes.rss_mb(os.getpid()), self._vision_rss_mb()) if each is not None]
        heat = self._heat.decision
        throttled_s = heat.counters.seconds_throttled
        was_throttled = throttled_s > self._throttled_before_s
        self._throttled_before_s = throttled_s
        return SystemState(
            temp_c=heat.temp_c,
            throttled=None if heat.flags is None or heat.flags.throttled is None else was_throttled,
            heat=HeatState(
                state=heat.state.value,
                source=heat.source.value,
                limited_by=heat.limited_by.value,
                rate_fps=heat.rate_fps,
                under_voltage=None if heat.flags is None else heat.flags_since_start.under_voltage,
                seconds_throttled=throttled_s,
                seconds_blind=heat.counters.seconds_blind,
                rate_changes=heat.counters.rate_changes,
            ),
            rss_mb=sum(known) if known else None,
            uptime_s=(self._clock.monotonic_ns() - self._began_ns) / 1e9,
            fps_wanted=self._config.inference.max_fps,
            vision_restarts=dict(self._restarts),
            camera=self._last_health.capture if self._last_health else None,
        )

    def _vision_rss_mb(self) -> float | None:
        """What vision says of its own memory: where systemd runs it, /proc shows it to nobody else."""
        return self._last_health.rss_mb if self._is_running and self._last_health else None

    def _take_new_config(self) -> None:
        new, self._new_config = self._new_config, None
        if new is None:
            return
        effects = {effect(change.key) for change in differences(self._config, new)}
        self._config = new
        self._census.reconfigure(new, self._clock.monotonic_ns())
        if "vision" in effects and self._is_running:
            _LOGGER.info("vision is started anew with the new configuration")
            self._vision.end(kindly=True)
            self._desk.vision_ends(None)
            self._is_running, self._start_at_ns = False, self._clock.monotonic_ns()
        if "vision" in effects:
            self._choice = InferenceChoice()
        self._heat.wanted_changes()


def _share(ordered: list[float], share: float) -> float | None:
    """The value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def _rate(times_ns: list[int]) -> float:
    """Events a second from their times."""
    span_ns = times_ns[-1] - times_ns[0] if times_ns else 0
    return (len(times_ns) - 1) * 1e9 / span_ns if span_ns else 0.0
