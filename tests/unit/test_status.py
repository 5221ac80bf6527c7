"""The lines that a technician reads say what is wrong, and nothing about who passed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from edgeapp.reader import read_json
from edgeapp.status import BrokerStatus, HeatStatus, Line, Status, Trouble, as_text, lines, span, summary, worst
from edgeapp.telemetry.drift import Comparison, DriftReport
from edgeapp.types import Advice, CaptureHealth, DelegateReport, ModelReport, UpdateHealth

_NOW_S = 1_000_000.0
_BROKER = BrokerStatus(
    host="broker.lan", port=1883, is_connected=True, since_s=_NOW_S - 600, error="", delivered=3, waiting=0, lost=0,
    last_delivered_s=_NOW_S - 240,
)  # fmt: skip
_GOOD = Status(
    version="0.1.0",
    device="door-7",
    pid=1,
    started_s=_NOW_S - 11_520,
    written_s=_NOW_S - 1,
    source="v4l2",
    camera=CaptureHealth("running", "ok", 900, 100, 0, 24.9, 640, 480, "yuyv", ""),
    model=ModelReport("person", 4, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 98, 91, 1)),
    vision_pid=2,
    fps_wanted=10.0,
    fps=9.9,
    p50_ms=21.3,
    p99_ms=35.2,
    latency_p50_ms=24.0,
    latency_p99_ms=41.0,
    frames_inferred=800,
    failures=0,
    temp_c=54.2,
    heat=HeatStatus(
        state="nominal",
        limited_by="demand",
        rate_fps=10.0,
        is_under_voltage=False,
        text="nominal: 10 of 10 fps, 54 °C",
    ),
    broker=_BROKER,
    next_report_s=_NOW_S + 300,
    trouble=None,
)


def _line(label: str, **changes: Any) -> Line:
    shown = lines(dataclasses.replace(_GOOD, **changes), _NOW_S, is_running=True)
    found = [line for line in shown if line.label == label]
    assert len(found) == 1
    return found[0]


def test_a_healthy_device_says_so_in_every_line() -> None:
    shown = lines(_GOOD, _NOW_S, is_running=True)
    assert worst(shown) == "ok"
    assert [line.label for line in shown] == ["daemon", "camera", "model", "speed", "heat", "broker", "reports"]
    assert shown[0].text == "door-7, running for 3 h 12 min, 0.1.0"


_CAMERA, _MODEL = _GOOD.camera, _GOOD.model
assert _CAMERA is not None
assert _MODEL is not None
_UNPLUGGED = dataclasses.replace(_CAMERA, state="retrying", error="unplugged")
_DARK = dataclasses.replace(_CAMERA, picture="black")
_UNDELEGATED = dataclasses.replace(_MODEL, delegate=DelegateReport("xnnpack", 98, 0, 0))
_NOTED = dataclasses.replace(_MODEL, advice=(Advice("it is dynamic", "quantize it"), Advice("it is slow", "wait")))
_HOT = dataclasses.replace(
    _GOOD.heat,
    state="hot",
    limited_by="heat",
    rate_fps=4.1,
    text="hot: 4.1 of 10 fps, held at 76 °C, 10 fps again below 71 °C",
)
_WEAK_SUPPLY = dataclasses.replace(
    _GOOD.heat, is_under_voltage=True, text="nominal: 10 of 10 fps, 54 °C, under-voltage: check the power supply"
)
_OFFLINE = dataclasses.replace(_BROKER, is_connected=False, error="connection refused")
_LOSSY = dataclasses.replace(_BROKER, lost=7, waiting=12)
_TROUBLE = Trouble(_NOW_S - 90, "E_CAMERA", "no such device")
_OLD_TROUBLE = Trouble(_NOW_S - 9000, "E_VISION", "vision was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("label", "changes", "level", "words"),
    [
        ("camera", {"camera": None}, "fail", "no word yet"),
        ("camera", {"camera": _UNPLUGGED}, "fail", "retrying: unplugged"),
        ("camera", {"camera": _DARK}, "fail", "lens covered"),
        ("model", {"model": None}, "fail", "none is running"),
        ("model", {"model": _UNDELEGATED}, "warn", "0 of 98"),
        (
            "model",
            {"model": dataclasses.replace(_MODEL, threads=3)},
            "ok",
            "litert, 3 threads, xnnpack took 91",
        ),
        ("advice", {"model": _NOTED}, "warn", "it is dynamic; it is slow"),
        ("speed", {"fps": 5.0}, "warn", "5.0 of 10 fps"),
        ("speed", {"p50_ms": None}, "warn", "no inference yet"),
        ("heat", {"heat": _HOT}, "warn", "10 fps again below 71 °C"),
        ("heat", {"heat": dataclasses.replace(_HOT, state="critical")}, "fail", "4.1 of 10 fps"),
        ("heat", {"heat": _WEAK_SUPPLY}, "warn", "power supply"),
        ("broker", {"broker": _OFFLINE}, "fail", "broker.lan:1883, offline for 10 min: connection refused"),
        ("reports", {"broker": _LOSSY}, "warn", "7 LOST"),
        ("restarts", {"vision_restarts": {"died": 2, "silent": 0}, "trouble": _TROUBLE}, "warn", "died 2"),
        ("restarts", {"vision_restarts": {"died": 2}, "trouble": _OLD_TROUBLE}, "ok", "died 2"),
        ("last error", {"trouble": _TROUBLE}, "ok", "no such device (1 min 30 s ago)"),
        ("reload", {"needs_restart": ("mqtt.host",)}, "warn", "mqtt.host"),
        ("reload", {"reload_error": "config.yaml:3: bad"}, "fail", "config.yaml:3: bad"),
    ],
)
def test_what_is_wrong_is_said_in_words(label: str, changes: dict[str, object], level: str, words: str) -> None:
    line = _line(label, **changes)
    assert line.level == level
    assert words in line.text


def test_a_daemon_that_died_tells_how_it_was() -> None:
    shown = lines(_GOOD, _NOW_S + 7200, is_running=False)
    assert shown[0] == Line("daemon", "fail", "door-7, NOT RUNNING; what follows is how it was 2 h ago")
    assert len(shown) > 5
    assert Line("broker", "ok", "broker.lan:1883, connected for 9 min 59 s") in shown
    assert as_text(shown, width=80, is_coloured=False).endswith("sudo systemctl start edgeapp")


def test_on_a_narrow_terminal_lines_stay_below_their_text_and_the_last_one_says_what_to_do() -> None:
    error = "the broker's certificate is for another host: write in mqtt.host the name that it is for"
    troubled = dataclasses.replace(_GOOD, broker=dataclasses.replace(_OFFLINE, error=error), heat=_HOT)
    rows = as_text(lines(troubled, _NOW_S, is_running=True), width=80, is_coloured=False).splitlines()
    assert max(map(len, rows)) <= 80
    begin = rows.index("FAIL  broker     broker.lan:1883, offline for 10 min: the broker's certificate")
    assert rows[begin + 1] == "                 is for another host: write in mqtt.host the name that it is for"
    assert rows[-2:] == ["Look after: heat, broker", "What to do says:  sudo edgeapp doctor"]
    assert as_text(lines(_GOOD, _NOW_S, is_running=True), width=80, is_coloured=False).endswith("\nAll is well.")


def test_what_is_one_line_stays_one_where_a_program_reads_it() -> None:
    error = "the broker's certificate is for another host: write in mqtt.host the name that it is for"
    shown = lines(
        dataclasses.replace(_GOOD, broker=dataclasses.replace(_OFFLINE, error=error)), _NOW_S, is_running=True
    )
    rows = as_text(shown, width=None, is_coloured=False).splitlines()
    assert f"FAIL  broker     broker.lan:1883, offline for 10 min: {error}" in rows
    assert not [row for row in rows if row.startswith(" ")]


def test_what_the_camera_says_of_itself_is_not_said_twice() -> None:
    shown = lines(
        dataclasses.replace(_GOOD, camera=_UNPLUGGED, trouble=Trouble(_NOW_S, "E_CAMERA", "unplugged")),
        _NOW_S,
        is_running=True,
    )
    assert [line.label for line in shown if "unplugged" in line.text] == ["camera"]


def test_a_camera_slower_than_wanted_is_no_warning() -> None:
    slow = dataclasses.replace(_CAMERA, source_fps=5.0)
    assert _line("speed", camera=slow, fps=5.0).level == "ok"


def test_the_summary_says_the_worst_or_how_fast_it_runs() -> None:
    assert summary(lines(_GOOD, _NOW_S, is_running=True)) == "speed: 9.9 of 10 fps, 21 ms median, 35 ms p99"
    troubled = dataclasses.replace(_GOOD, broker=_OFFLINE, heat=_HOT)
    assert summary(lines(troubled, _NOW_S, is_running=True)).startswith("broker: broker.lan:1883, offline")


def test_a_rate_that_the_heat_has_cut_is_no_second_warning() -> None:
    assert _line("speed", heat=_HOT, fps=4.1).level == "ok"


def test_the_status_survives_its_file() -> None:
    text = json.dumps(dataclasses.asdict(_GOOD)).encode()
    assert read_json(Status, text, "status.json") == _GOOD


def test_the_status_has_no_field_for_who_passed() -> None:
    text = json.dumps(dataclasses.asdict(_GOOD)).lower()
    assert not [word for word in ("entered", "present", "crossing", "dwell", "track", "detections") if word in text]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (0.4, "0 s"), (59, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90_000, "1 d 1 h")],
)
def test_spans_are_said_in_the_two_units_that_matter(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_clock_that_nobody_has_set_holds_counts_back_and_the_status_says_so() -> None:
    line = _line("counts", holds_counts_back=True)
    assert line.level == "warn"
    assert "until a time service has set the clock" in line.text


@pytest.mark.parametrize(("psi", "is_told"), [(0.05, True), (0.005, False)])
def test_drift_is_told_when_the_sites_own_first_days_were_otherwise(psi: float, is_told: bool) -> None:
    drift = DriftReport(shipped=Comparison(0.5, 0.1), site=Comparison(psi, 0.01))
    shown = lines(dataclasses.replace(_GOOD, drift=drift), _NOW_S, is_running=True)
    assert [line.level for line in shown if line.label == "drift"] == ["warn"] * is_told


_UPDATE = UpdateHealth(
    phase="idle",
    active="person 4",
    candidate="",
    fetched_pct=0.0,
    trial_s=0.0,
    is_pinned=False,
    is_safe_mode=False,
    code="",
    text="",
)


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"phase": "downloading", "candidate": "person 5", "fetched_pct": 41.6}, "ok", "fetching person 5, 42 %"),
        ({"phase": "trial", "candidate": "person 5", "trial_s": 72.0}, "ok", "trying person 5 for 1 min 12 s"),
        (
            {"code": "E_GOLDEN", "text": "found 80 steps"},
            "ok",
            "person 4 runs on; the last update ended with E_GOLDEN: found 80 steps",
        ),
        ({"is_pinned": True}, "ok", "pinned to person 4"),
        ({"is_safe_mode": True}, "fail", "SAFE MODE"),
    ],
    ids=str,
)
def test_what_is_to_be_said_of_an_update_is_said(changes: dict[str, Any], level: str, words: str) -> None:
    line = _line("update", update=dataclasses.replace(_UPDATE, **changes))
    assert line.level == level
    assert words in line.text


def test_of_updates_nothing_is_said_where_there_is_nothing_to_say() -> None:
    shown = lines(dataclasses.replace(_GOOD, update=_UPDATE), _NOW_S, is_running=True)
    assert "update" not in {line.label for line in shown}
