from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.telemetry.message import HeatState, SystemState, status_message, telemetry_message
from edgeapp.telemetry.window import Aggregate
from edgeapp.thermal.decision import LimitedBy, Source, ThermalState
from edgeapp.types import CaptureHealth, DelegateReport, ModelReport

_AGGREGATE = Aggregate(
    index=1_888_888,
    start_s=1_699_999_200,
    end_s=1_700_000_100,
    seconds=899.98,
    is_complete=True,
    clock_stepped=False,
    n=8998,
    failures=0,
    captured=13_500,
    dropped=4502,
    p50_ms=41.234567,
    p95_ms=44.1,
    p99_ms=52.0,
    max_ms=103.25,
)
_CAMERA = CaptureHealth(
    state="running",
    picture="ok",
    frames_captured=13_500,
    frames_dropped=4502,
    reopened=1,
    source_fps=15.0,
    width=640,
    height=480,
    pixel_format="YUYV",
    error="rtsp://admin:secret@10.0.0.9/ did not answer",
)
_HEAT = HeatState(
    state="hot",
    source="sensor",
    limited_by="heat",
    rate_fps=4.128,
    under_voltage=None,
    seconds_throttled=3.4,
    seconds_blind=0.0,
    rate_changes=7,
)
_SYSTEM = SystemState(
    temp_c=61.349,
    throttled=None,
    heat=_HEAT,
    rss_mb=143.27,
    uptime_s=86_400.4,
    fps_wanted=10.0,
    vision_restarts={"silent": 1, "died": 0},
    camera=_CAMERA,
)
_MODEL = ModelReport(
    name="people",
    version=3,
    sha256="ab" * 32,
    quantization="int8",
    classes=("person",),
    runtime="ai-edge-litert 2.3.0",
    threads=2,
    delegate=DelegateReport(name="xnnpack", nodes=64, delegated=62, partitions=1, remaining={"CUSTOM": 2}),
)
_BOOT = "0123456789abcdef"


def _schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((resources.files("edgeapp") / "schemas" / f"{name}.schema.json").read_text())
    return schema


def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(_schema(name))


def _report(
    aggregate: Aggregate = _AGGREGATE, model: ModelReport | None = _MODEL, system: SystemState = _SYSTEM
) -> bytes:
    return telemetry_message(
        aggregate, device="kiosk-7", boot=_BOOT, seq=12, lost=0, app_version="0.1.0", model=model, system=system
    )


@pytest.mark.parametrize("name", ["telemetry-v1", "status-v1"])
def test_the_published_schemas_are_schemas(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(_schema(name))


def test_a_report_says_exactly_this() -> None:
    assert json.loads(_report()) == {
        "v": 1,
        "device": "kiosk-7",
        "boot": _BOOT,
        "seq": 12,
        "lost": 0,
        "app": "0.1.0",
        "win": {
            "start": 1_699_999_200,
            "end": 1_700_000_100,
            "complete": True,
            "seconds": 900.0,
            "clock_stepped": False,
        },
        "inf": {
            "n": 8998,
            "failures": 0,
            "p50_ms": 41.235,
            "p95_ms": 44.1,
            "p99_ms": 52.0,
            "max_ms": 103.25,
            "captured": 13_500,
            "dropped": 4502,
            "fps": 10.0,
            "fps_wanted": 10.0,
        },
        "sys": {
            "temp_c": 61.3,
            "throttled": None,
            "heat": {
                "state": "hot",
                "source": "sensor",
                "limited_by": "heat",
                "rate_fps": 4.13,
                "under_voltage": None,
                "seconds_throttled": 3,
                "seconds_blind": 0,
                "rate_changes": 7,
            },
            "rss_mb": 143.3,
            "uptime_s": 86_400,
            "vision_restarts": {"died": 0, "silent": 1},
            "camera": {"state": "running", "picture": "ok", "reopened": 1},
        },
        "model": {
            "name": "people",
            "version": 3,
            "sha256": "ab" * 32,
            "quantization": "int8",
            "runtime": "ai-edge-litert 2.3.0",
            "delegate": {"name": "xnnpack", "nodes": 64, "delegated": 62, "partitions": 1, "fell_back": False},
            "threads": 2,
        },
    }


def test_a_report_is_small() -> None:
    assert len(_report()) < 1000


def test_the_cameras_address_and_password_do_not_leave() -> None:
    assert b"secret" not in _report()
    assert b"10.0.0.9" not in _report()


def test_a_report_of_a_device_where_nothing_works_yet_fits_the_schema() -> None:
    empty = replace(_AGGREGATE, n=0, seconds=0.0, p50_ms=None, p95_ms=None, p99_ms=None, max_ms=None)
    system = replace(_SYSTEM, temp_c=None, rss_mb=None, camera=None, vision_restarts={})
    report = json.loads(_report(empty, None, system))
    _validator("telemetry-v1").validate(report)
    assert report["model"] is None
    assert report["inf"]["fps"] == 0.0


_COUNTS = st.integers(0, 10**9)
_MS = st.none() | st.floats(0, 1e6)
_AGGREGATES = st.builds(
    Aggregate,
    index=_COUNTS,
    start_s=_COUNTS,
    end_s=_COUNTS,
    seconds=st.just(0.0) | st.floats(1e-9, 1e6),
    is_complete=st.booleans(),
    clock_stepped=st.booleans(),
    n=_COUNTS,
    failures=_COUNTS,
    captured=_COUNTS,
    dropped=_COUNTS,
    p50_ms=_MS,
    p95_ms=_MS,
    p99_ms=_MS,
    max_ms=_MS,
)
_SYSTEMS = st.builds(
    SystemState,
    temp_c=st.none() | st.floats(-50, 150),
    throttled=st.none() | st.booleans(),
    heat=st.builds(
        HeatState,
        state=st.sampled_from([state.value for state in ThermalState]),
        source=st.sampled_from([source.value for source in Source]),
        limited_by=st.sampled_from([limit.value for limit in LimitedBy]),
        rate_fps=st.floats(0, 240),
        under_voltage=st.none() | st.booleans(),
        seconds_throttled=st.floats(0, 1e10),
        seconds_blind=st.floats(0, 1e10),
        rate_changes=_COUNTS,
    ),
    rss_mb=st.none() | st.floats(0, 1e5),
    uptime_s=st.floats(0, 1e10),
    fps_wanted=st.floats(0, 240),
    vision_restarts=st.dictionaries(st.sampled_from(["died", "silent", "nonsense"]), _COUNTS),
    camera=st.none() | st.just(_CAMERA),
)


@given(_AGGREGATES, _SYSTEMS, st.none() | st.just(_MODEL))
def test_every_report_fits_the_published_schema(
    aggregate: Aggregate, system: SystemState, model: ModelReport | None
) -> None:
    _validator("telemetry-v1").validate(json.loads(_report(aggregate, model, system)))


def test_the_schema_refuses_a_field_it_does_not_know() -> None:
    report = json.loads(_report())
    report["counts"] = {"people": 3}
    assert not _validator("telemetry-v1").is_valid(report)


def test_a_number_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        _report(system=replace(_SYSTEM, temp_c=math.nan))


def test_the_examples_in_the_documentation_fit_the_published_schemas() -> None:
    text = (Path(__file__).parents[3] / "docs" / "messages.md").read_text()
    report, counts, status, *_ = (json.loads(example) for example in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    _validator("telemetry-v1").validate(report)
    _validator("counts-v1").validate(counts)
    _validator("status-v1").validate(status)
    assert report == json.loads(_report())


@pytest.mark.parametrize("state", ["online", "offline"])
def test_a_status_fits_the_published_schema(state: Any) -> None:
    status = json.loads(status_message(state, device="kiosk-7", boot=_BOOT, app_version="0.1.0"))
    _validator("status-v1").validate(status)
    assert status["state"] == state
