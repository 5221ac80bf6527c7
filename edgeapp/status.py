"""What a technician on a ladder wants to know, pure: the daemon's state as one value and as a few plain lines.

Owns the words and the judgement (ok, warn, fail) of each line. The daemon writes the value to a file in its runtime
folder once a second; `edgeapp status` reads it, so a daemon that died still tells how it was. Never counts: nothing
here depends on who passes the camera, but for the drift, which is judged from released counts.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from edgeapp.telemetry.drift import DriftReport
from edgeapp.types import CaptureHealth, EscalationHealth, ModelReport, UpdateHealth
from edgeapp.words import counted

STATUS_NAME = "status.json"
LOCK_NAME = "lock"
Level = Literal["ok", "warn", "fail"]
_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
_COLOURS = {"ok": "32", "warn": "33", "fail": "1;31"}
_LABEL_WIDTH = 11
_MIN_TEXT_WIDTH = 40
_SLOW_SHARE = 0.9  # of the wanted rate; below it the line warns
_PHASES = {
    "received": "verifying what an operator ordered",
    "verified": "{name} is genuine and fits",
    "wait_window": "{name} waits for the maintenance window",
    "downloading": "fetching {name}, {pct:.0f} %",
    "staged": "{name} is here, whole",
    "selftest": "testing {name} beside the running model",
    "standby": "loading {name} beside the running model",
    "trial": "trying {name} for {span}",
}
_FRESH_S = 3600.0  # what went wrong longer ago, and only then, is history


@dataclass(frozen=True, slots=True)
class Trouble:
    """The last thing that went wrong in a part."""

    at_s: float
    code: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerStatus:
    """How the link to the broker does. Times are seconds since 1970-01-01 UTC."""

    host: str
    port: int
    is_connected: bool
    since_s: float
    error: str
    delivered: int
    waiting: int
    lost: int
    last_delivered_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatStatus:
    """What the heat does to the rate; `text` says it in words."""

    state: str
    limited_by: str
    rate_fps: float
    is_under_voltage: bool
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """The daemon at one moment. Times are seconds since 1970-01-01 UTC.

    `p50_ms` and `p99_ms` are of the invoke alone, `latency_…` from the capture of a frame to its observation.
    `holds_counts_back`: none are released while the clock is not synchronised. `drift` is judged from released ones.
    """

    version: str
    device: str
    pid: int
    started_s: float
    written_s: float
    source: str
    camera: CaptureHealth | None
    model: ModelReport | None
    vision_pid: int | None
    vision_restarts: dict[str, int] = field(default_factory=dict)
    fps_wanted: float
    fps: float
    p50_ms: float | None
    p99_ms: float | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    frames_inferred: int
    failures: int
    temp_c: float | None
    heat: HeatStatus
    broker: BrokerStatus
    next_report_s: float
    holds_counts_back: bool = False
    drift: DriftReport | None = None
    update: UpdateHealth | None = None
    escalation: EscalationHealth | None = None
    trouble: Trouble | None
    needs_restart: tuple[str, ...] = ()
    reload_error: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the status: what about, how bad, in words."""

    label: str
    level: Level
    text: str


def lines(status: Status, now_s: float, *, is_running: bool) -> tuple[Line, ...]:
    """The status in words, most important first."""
    return tuple(_lines(status, now_s, is_running))


def marked(level: Level, *, is_coloured: bool) -> str:
    """The level as it begins a line for a person, four columns wide."""
    return f"\033[{_COLOURS[level]}m{_MARKS[level]}\033[0m" if is_coloured else _MARKS[level]


def wrapped(mark: str, label: str, label_width: int, text: str, width: int | None) -> list[str]:
    """A line for a terminal of `width` columns: after `mark`, four columns wide, and `label` the text, below itself.

    None: for a program that reads lines; what is one line stays one.
    """
    indent = " " * (len("FAIL  ") + label_width)
    room = sys.maxsize if width is None else max(width - len(indent), _MIN_TEXT_WIDTH)
    first, *more = [
        row
        for line in text.splitlines() or [""]
        for row in textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) or [""]
    ]
    return [f"{mark}  {label:<{label_width}}{first}".rstrip(), *(indent + row for row in more)]


def as_text(shown: tuple[Line, ...], *, width: int | None, is_coloured: bool) -> str:
    """All lines for a terminal of `width` columns, not wrapped where it is None, and last what they come to."""
    rows = [
        row
        for line in shown
        for row in wrapped(marked(line.level, is_coloured=is_coloured), line.label, _LABEL_WIDTH, line.text, width)
    ]
    return "\n".join([*rows, _conclusion(shown)])


def _conclusion(shown: tuple[Line, ...]) -> str:
    bad = [line.label for line in shown if line.level != "ok"]
    if not bad:
        return "All is well."
    if "daemon" in bad:
        return "Why it does not run:  journalctl -u edgeapp -n 20\nStart it:  sudo systemctl start edgeapp"
    return f"Look after: {', '.join(bad)}\nWhat to do says:  sudo edgeapp doctor"


def worst(shown: tuple[Line, ...]) -> Level:
    """The worst level among the lines."""
    levels = {line.level for line in shown}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"


def summary(shown: tuple[Line, ...]) -> str:
    """The status in one line: what is worst, or how fast it runs when all is well. For systemd's own status."""
    level = worst(shown)
    of_note = [line for line in shown if line.level == level and (level != "ok" or line.label == "speed")]
    return "; ".join(f"{line.label}: {line.text}" for line in of_note)


def _lines(status: Status, now_s: float, is_running: bool) -> Iterator[Line]:
    if is_running:
        yield Line("daemon", "ok", f"{status.device}, running for {span(now_s - status.started_s)}, {status.version}")
    else:
        ago = span(now_s - status.written_s)
        yield Line("daemon", "fail", f"{status.device}, NOT RUNNING; what follows is how it was {ago} ago")
        now_s = status.written_s
    yield _camera(status)
    yield _model(status)
    if status.model and status.model.advice:
        yield Line("advice", "warn", "; ".join(one.text for one in status.model.advice))
    if status.update:
        yield from _update(status.update)
    yield _speed(status)
    yield _heat(status.heat)
    yield _broker(status.broker, now_s)
    yield _reports(status, now_s)
    if status.escalation:
        yield _escalation(status.escalation)
    if status.holds_counts_back:
        text = "none are released until a time service has set the clock: is there one, and UDP port 123 open to it?"
        yield Line("counts", "warn", text)
    if status.drift and status.drift.site and status.drift.drifting:
        psi, threshold = status.drift.site.psi, status.drift.site.threshold
        text = f"the model is as sure of other things than in its first days here (PSI {psi:.3f}, up to {threshold:.3f}"
        yield Line("drift", "warn", f"{text} is usual); look whether it still sees what it should")
    if sum(status.vision_restarts.values()):
        causes = ", ".join(f"{cause} {count}" for cause, count in sorted(status.vision_restarts.items()) if count)
        is_fresh = status.trouble is not None and now_s - status.trouble.at_s < _FRESH_S
        yield Line("restarts", "warn" if is_fresh else "ok", f"vision was started again: {causes}")
    if status.trouble and not (status.camera and status.trouble.text == status.camera.error):  # told above
        yield Line("last error", "ok", f"{status.trouble.text} ({span(now_s - status.trouble.at_s)} ago)")
    if status.reload_error:
        yield Line("reload", "fail", f"refused, the old configuration runs on: {status.reload_error}")
    elif status.needs_restart:
        yield Line("reload", "warn", f"takes effect after a restart: {', '.join(status.needs_restart)}")


def _camera(status: Status) -> Line:
    camera = status.camera
    if camera is None:
        return Line("camera", "fail", f"{status.source}: no word yet")
    if camera.state != "running":
        reason = f": {camera.error}" if camera.error else ""
        return Line("camera", "fail", f"{status.source}: {camera.state}{reason}")
    if camera.picture != "ok":
        return Line(
            "camera",
            "fail",
            f"{status.source}: the picture is {camera.picture}; is the lens covered or the cable loose?",
        )
    text = f"{status.source}, {camera.width} x {camera.height} {camera.pixel_format}, {camera.source_fps:.1f} fps"
    return Line("camera", "ok", text)


def _model(status: Status) -> Line:
    model = status.model
    if model is None:
        return Line("model", "fail", "none is running")
    threads = counted(model.threads, "thread")
    text = f"{model.name} {model.version} ({model.quantization}) on {model.runtime}, {threads}, {model.delegate}"
    is_slow = model.delegate.delegated == 0 and model.delegate.name != "none"
    return Line("model", "warn" if is_slow else "ok", text)


def _update(update: UpdateHealth) -> Iterator[Line]:
    if update.is_safe_mode:
        text = "SAFE MODE: none of its models runs here, so nothing is inferred; reports and updates go on"
        yield Line("update", "fail", f"{text}; install a release")
        return
    told, runs = [], update.active or "the factory model"
    if update.phase in _PHASES:
        told.append(
            _PHASES[update.phase].format(
                name=update.candidate or "a release", pct=update.fetched_pct, span=span(update.trial_s)
            )
        )
    elif update.code:
        told.append(f"{runs} runs on; the last update ended with {update.code}: {update.text}")
    if update.is_pinned:
        told.append(f"pinned to {runs}")
    if told:
        yield Line("update", "ok", "; ".join(told))


def _speed(status: Status) -> Line:
    if status.p50_ms is None or status.p99_ms is None:
        return Line("speed", "fail" if status.model is None else "warn", "no inference yet")
    text = f"{status.fps:.1f} of {status.fps_wanted:g} fps, {status.p50_ms:.0f} ms median, {status.p99_ms:.0f} ms p99"
    camera_fps = status.camera.source_fps if status.camera else 0.0
    reachable_fps = min(status.heat.rate_fps, camera_fps) if camera_fps else status.heat.rate_fps
    return Line("speed", "ok" if status.fps >= _SLOW_SHARE * reachable_fps else "warn", text)


def _heat(heat: HeatStatus) -> Line:
    if heat.state == "critical":
        return Line("heat", "fail", heat.text)
    is_cut = heat.limited_by in ("heat", "blind")
    return Line("heat", "warn" if is_cut or heat.is_under_voltage else "ok", heat.text)


def _broker(broker: BrokerStatus, now_s: float) -> Line:
    where = f"{broker.host}:{broker.port}"
    if broker.is_connected:
        return Line("broker", "ok", f"{where}, connected for {span(now_s - broker.since_s)}")
    reason = broker.error or "not reached yet"
    return Line("broker", "fail", f"{where}, offline for {span(now_s - broker.since_s)}: {reason}")


def _escalation(escalation: EscalationHealth) -> Line:
    if not escalation.has_consent:
        return Line("escalation", "warn", f"no picture leaves: {escalation.consent}")
    if escalation.is_metered:
        return Line("escalation", "ok", f"waits, the link is metered; allowed {escalation.consent}")
    level: Level = "ok" if escalation.is_endpoint_up else "warn"
    return Line("escalation", level, f"{escalation.endpoint}; allowed {escalation.consent}")


def _reports(status: Status, now_s: float) -> Line:
    broker = status.broker
    last = (
        "none delivered yet"
        if broker.last_delivered_s is None
        else f"last delivered {span(now_s - broker.last_delivered_s)} ago"
    )
    parts = [last, f"{broker.waiting} waiting", f"next in {span(status.next_report_s - now_s)}"]
    if broker.lost:
        parts.append(f"{broker.lost} LOST, the spool was full")
    return Line("reports", "warn" if broker.lost else "ok", ", ".join(parts))


def span(seconds: float) -> str:
    """A duration in the two units that matter: "3 h 12 min"."""
    total = max(0, round(seconds))
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= unit_s:
            whole, rest = divmod(total, unit_s)
            return f"{whole} {unit} {rest // part_s} {part}" if rest // part_s else f"{whole} {unit}"
    return f"{total} s"
