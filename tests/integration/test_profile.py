"""`edgeapp profile` end to end: a real model in a real child, on boards that behave, slow down, or break."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from edgeapp import cli
from edgeapp.errors import EdgeAppError, ProfileError
from edgeapp.measure.profile import Plan, profile
from edgeapp.measure.steady import SteadyLimits
from edgeapp.measure.verdict import Budget, judge
from edgeapp.vision.selftest import SelfTestLimits
from tests.fakes import slow_board
from tests.fakes.slow_board import HotSensors
from tests.fakes.tiny_models import make_model_folder
from tests.unit.measure.test_verdict import SCHEMA

_SIZE = 64
# Rules for a run of seconds; whoever shares the processor with the test shall not decide what comes of it.
_STEADY = SteadyLimits(window_s=1.5, longest_tau_s=0.1, latency_pct=60.0, temp_c=5.0)
_PLAN = Plan(seconds=8.0, threads=1, steady=_STEADY, tuning=SelfTestLimits(invokes=3), tuning_s=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark pictures with one bright square in the middle of a quarter's cell."""
    folder = tmp_path_factory.mktemp("frames")
    for number in range(6):
        picture = np.zeros((_SIZE, _SIZE, 3), np.uint8)
        left = 8 * number
        picture[24:40, left : left + 16] = 255
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.json"
    path.write_text(json.dumps(_labels(range(6))))
    return path


def _labels(numbers: range) -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": _SIZE, "height": _SIZE} for n in numbers],
        "annotations": [{"image_id": n, "category_id": 1, "bbox": [8 * n, 24, 16, 16]} for n in numbers],
        "categories": [{"id": 1, "name": "person"}],
    }


def _sensors(start_c: float | None = 50.0) -> HotSensors:
    return HotSensors(start_c, 52.0, tau_s=0.2, throttled_after_s=1e9)


def test_a_run_ends_once_it_has_settled_and_has_every_figure(model: Path, frames: Path, labels: Path) -> None:
    told: list[tuple[str, float, float | None]] = []
    plan = dataclasses.replace(_PLAN, seconds=60.0, frames=frames, labels=labels)
    found = profile(model, plan, sensors=_sensors(), tell=lambda *step: told.append(step))
    assert found.settling.answer == "settled"
    assert found.seconds < 60
    assert set(found.stages_ms) == {"decode", "preprocess", "invoke", "postprocess"}
    assert {"cold_load_ms", "warm_load_ms", "p99_ms", "steady_p95_ms", "fps", "rss_mb"} <= set(found.figures)
    assert sum(found.histogram.counts) <= found.frames
    assert found.moments[-1].temp_c == 52.0
    assert found.slowed_s == 0.0
    assert (found.labelled, found.figures["ap50"].value) == (6, pytest.approx(1.0, abs=0.01))
    assert all(0 <= share <= 1 for _, share, _ in told)
    assert {doing.split(":")[0].split(",")[0] for doing, _, _ in told} == {
        "ways to run it", "sustained", "accuracy on the labelled frames",
    }  # fmt: skip


def test_a_planted_throttle_shows_in_the_verdict(model: Path) -> None:
    sensors = HotSensors(60.0, 61.0, tau_s=0.2, throttled_after_s=1.0)
    plan = dataclasses.replace(_PLAN, seconds=60.0, steady=dataclasses.replace(_STEADY, window_s=3.0))
    found = profile(model, plan, sensors=sensors, command=slow_board.command(2000, 12.0))
    start_ms = found.value("start_p50_ms")
    assert start_ms is not None
    judgement = judge(found, Budget(steady_p50_ms=2 * start_ms))
    assert judgement.exit_status == 1
    assert judgement.notes[0].startswith("Attack the slow-down first")
    assert any("slows down as it runs" in note for note in judgement.notes)
    assert any("The firmware said" in note for note in judgement.notes)


def test_a_run_that_is_too_short_says_that_it_has_not_settled(model: Path) -> None:
    plan = dataclasses.replace(_PLAN, seconds=1.0)
    found = profile(model, plan, sensors=_sensors())
    assert found.settling.answer == "not yet"
    assert "steady_p95_ms" not in found.figures
    assert judge(found, Budget(p95_ms=1e6)).exit_status == 2


def test_a_board_without_a_thermometer_has_honest_blanks(model: Path) -> None:
    found = profile(model, dataclasses.replace(_PLAN, seconds=1.0), sensors=_sensors(start_c=None))
    assert found.slowed_s is None
    assert all(moment.temp_c is None for moment in found.moments)
    assert "decode" not in found.stages_ms
    assert any("tells no temperature" in note for note in judge(found, None).notes)


def test_labels_without_their_frames_are_told(model: Path, frames: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(_labels(range(9))))
    plan = dataclasses.replace(_PLAN, seconds=0.3, frames=frames, labels=path)
    with pytest.raises(EdgeAppError, match=r"found no '6\.png'"):
        profile(model, plan, sensors=_sensors())


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; sys.exit(3)", "status 3"),
        ("print('nonsense', file=__import__('sys').stderr); raise SystemExit(1)", "nonsense"),
        ("import os, sys; os.write(int(sys.argv[sys.argv.index('--out-fd') + 1]), b'{}\\n')", "the profile's child"),
    ],
)
def test_whatever_the_child_does_the_profile_ends_with_a_reason(model: Path, script: str, said: str) -> None:
    with pytest.raises(EdgeAppError, match=said):
        profile(model, _PLAN, sensors=_sensors(), command=(sys.executable, "-c", script))


def test_frames_that_are_none_are_told(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="expected jpg, png or bmp files"):
        profile(model, dataclasses.replace(_PLAN, frames=tmp_path), sensors=_sensors())


def test_the_command_writes_both_reports_and_says_that_it_is_not_settled(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.html"
    assert cli.main(["profile", str(model), "--seconds", "1", "--threads", "1", "--json", "--out", str(out)]) == 2
    printed = json.loads(capsys.readouterr().out)
    jsonschema.validate(printed["profile"], SCHEMA)
    assert printed["verdict"]["answer"] == "unknown"
    assert json.loads(out.with_suffix(".json").read_text()) == printed["profile"]
    assert printed["verdict"]["headline"] in out.read_text()
    same = str(out.with_suffix(".json"))
    assert cli.main(["report", "diff", same, same]) == 0
    assert "worse" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--labels", "labels.json"], "--labels: expected --frames"),
        (["--budget", "none.yaml"], "expected a file with a budget"),
        (["--out", "no/such/folder/report.html"], "that this user may write"),
        (["--out", "report.json"], "expected the name of the page"),
    ],
)
def test_what_cannot_be_measured_is_told_before_the_minutes_it_takes(
    model: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["profile", str(model), *arguments]) == 2
    assert said in capsys.readouterr().err
