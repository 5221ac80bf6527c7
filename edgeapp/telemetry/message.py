"""The bytes of a report and of a status, pure: JSON built field by field, so that nothing travels unnoticed.

Owns the names and the rounding of every field; `docs/messages.md` and `edgeapp/schemas/` describe them for readers.
Guarantee: what leaves are statistics of the inference, the state of the system and the model's identity. There is no
field for a count of people or tracks (noised ones are `counts_message.py`'s), for a picture, or for free text: an error
text may hold the camera's address and password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgeapp.document import compact_json
from edgeapp.telemetry.window import Aggregate
from edgeapp.types import CaptureHealth, ModelReport

MESSAGE_VERSION = 1
_MS_DIGITS = 3
_RATE_DIGITS = 2
_COARSE_DIGITS = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatState:
    """What the thermal governor does. The seconds and changes count since the daemon started.

    `under_voltage` is whether it ever occurred since then, None where the board does not tell.
    """

    state: str
    source: str
    limited_by: str
    rate_fps: float
    under_voltage: bool | None
    seconds_throttled: float
    seconds_blind: float
    rate_changes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemState:
    """The device at the moment a window closed.

    `throttled` says whether the firmware throttled during the window, None where the board does not tell.
    `vision_restarts` counts, by cause, since the daemon started; `rss_mb` is the resident memory of control and vision
    together, in MiB.
    """

    temp_c: float | None
    throttled: bool | None
    heat: HeatState
    rss_mb: float | None
    uptime_s: float
    fps_wanted: float
    vision_restarts: Mapping[str, int]
    camera: CaptureHealth | None


def telemetry_message(
    aggregate: Aggregate,
    *,
    device: str,
    boot: str,
    seq: int,
    lost: int,
    app_version: str,
    model: ModelReport | None,
    system: SystemState,
) -> bytes:
    """One report. (device, boot, seq) is its identity: a reader drops a second one with the same three.

    Args:
        boot: 16 hexadecimal digits, drawn at random at each start of the daemon.
        seq: number in the device's spool, rising.
        lost: reports that this device has had to drop so far because the spool was full.
        model: None while no model has come up.

    Raises:
        ValueError: a number is infinite or not a number.
    """
    return compact_json(
        {
            "v": MESSAGE_VERSION,
            "device": device,
            "boot": boot,
            "seq": seq,
            "lost": lost,
            "app": app_version,
            "win": _window(aggregate),
            "inf": _inference(aggregate, system),
            "sys": _system(system),
            "model": None if model is None else _model(model),
        }
    )


def status_message(state: Literal["online", "offline"], *, device: str, boot: str, app_version: str) -> bytes:
    """The retained status. The offline one is also the last will: the broker sends it when the device goes silent."""
    return compact_json({"v": MESSAGE_VERSION, "device": device, "boot": boot, "state": state, "app": app_version})


def _window(aggregate: Aggregate) -> dict[str, Any]:
    return {
        "start": aggregate.start_s,
        "end": aggregate.end_s,
        "complete": aggregate.is_complete,
        "seconds": round(aggregate.seconds, _COARSE_DIGITS),
        "clock_stepped": aggregate.clock_stepped,
    }


def _inference(aggregate: Aggregate, system: SystemState) -> dict[str, Any]:
    fps = aggregate.n / aggregate.seconds if aggregate.seconds > 0 else 0.0
    return {
        "n": aggregate.n,
        "failures": aggregate.failures,
        "p50_ms": _rounded(aggregate.p50_ms, _MS_DIGITS),
        "p95_ms": _rounded(aggregate.p95_ms, _MS_DIGITS),
        "p99_ms": _rounded(aggregate.p99_ms, _MS_DIGITS),
        "max_ms": _rounded(aggregate.max_ms, _MS_DIGITS),
        "captured": aggregate.captured,
        "dropped": aggregate.dropped,
        "fps": round(fps, _RATE_DIGITS),
        "fps_wanted": round(system.fps_wanted, _RATE_DIGITS),
    }


def _system(system: SystemState) -> dict[str, Any]:
    camera = system.camera
    return {
        "temp_c": _rounded(system.temp_c, _COARSE_DIGITS),
        "throttled": system.throttled,
        "heat": _heat(system.heat),
        "rss_mb": _rounded(system.rss_mb, _COARSE_DIGITS),
        "uptime_s": round(system.uptime_s),
        "vision_restarts": dict(sorted(system.vision_restarts.items())),
        "camera": None
        if camera is None
        else {"state": camera.state, "picture": camera.picture, "reopened": camera.reopened},
    }


def _heat(heat: HeatState) -> dict[str, Any]:
    return {
        "state": heat.state,
        "source": heat.source,
        "limited_by": heat.limited_by,
        "rate_fps": round(heat.rate_fps, _RATE_DIGITS),
        "under_voltage": heat.under_voltage,
        "seconds_throttled": round(heat.seconds_throttled),
        "seconds_blind": round(heat.seconds_blind),
        "rate_changes": heat.rate_changes,
    }


def _model(model: ModelReport) -> dict[str, Any]:
    delegate = model.delegate
    return {
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
        "quantization": model.quantization,
        "runtime": model.runtime,
        "delegate": {
            "name": delegate.name,
            "nodes": delegate.nodes,
            "delegated": delegate.delegated,
            "partitions": delegate.partitions,
            "fell_back": bool(delegate.fell_back),
        },
        "threads": model.threads,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
