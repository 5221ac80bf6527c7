"""The drift watch lives on over restarts, and on what was released alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeapp.config import CountingConfig, PrivacyConfig, SharesConfig
from edgeapp.telemetry.budget import DAY, QUARTER, Level, plan
from edgeapp.telemetry.contributions import Counts
from edgeapp.telemetry.drift import BASELINE_DAYS
from edgeapp.telemetry.drift_keeper import DRIFT_NAME, DriftKeeper
from edgeapp.telemetry.levels import ClosedWindow
from edgeapp.telemetry.release import Release, release
from edgeapp.types import CONFIDENCE, CONFIDENCE_EDGES, DelegateReport, Event, ModelReport

MODEL = ModelReport("people", 3, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))
SITE = plan(PrivacyConfig(shares=SharesConfig(entered=1, confidence=10)), CountingConfig(), ("person",))
USUAL, LOWER = (0, 50, 300, 800, 1500, 600), (0, 300, 900, 1300, 600, 150)


def day(bins: tuple[int, ...] = USUAL, level: Level = DAY) -> Release:
    counts = Counts()
    for number, tracks in enumerate(bins):
        counts.add([Event(CONFIDENCE, (str(number),), each) for each in range(tracks)])
    return release(ClosedWindow(level, 1, 86_400.0, counts), SITE, suppress_below=0)


def live(keeper: DriftKeeper, told: Release, model: ModelReport = MODEL) -> None:
    judgement = keeper.judge(told, model)
    assert judgement is not None
    keeper.keep(judgement)


def test_a_shift_after_the_first_days_is_drift_also_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / DRIFT_NAME
    for _ in range(BASELINE_DAYS):
        keeper = DriftKeeper(path)
        live(keeper, day())
        assert keeper.report is not None
        assert keeper.report.drifting is None
    keeper = DriftKeeper(path)
    live(keeper, day())
    assert keeper.report is not None
    assert keeper.report.drifting is False
    live(keeper, day(LOWER))
    assert keeper.report.drifting is True


def test_the_models_own_histogram_is_compared_with(tmp_path: Path) -> None:
    shipped = dataclasses.replace(MODEL, expected_confidence=USUAL)
    judgement = DriftKeeper(tmp_path / DRIFT_NAME).judge(day(LOWER), shipped)
    assert judgement is not None
    assert judgement.report.shipped is not None
    assert judgement.report.shipped.is_exceeded
    assert len(USUAL) == len(CONFIDENCE_EDGES) + 1


def test_what_was_not_released_changes_nothing_and_shorter_levels_are_not_judged(tmp_path: Path) -> None:
    keeper = DriftKeeper(tmp_path / DRIFT_NAME)
    assert keeper.judge(day(), MODEL) is not None
    assert keeper.report is None
    assert not (tmp_path / DRIFT_NAME).exists()
    assert keeper.judge(day(level=QUARTER), MODEL) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"days": 99}', b"\xff"])
def test_a_torn_file_begins_anew_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path = tmp_path / DRIFT_NAME
    path.write_bytes(content)
    live(DriftKeeper(path), day())
    assert "begins anew" in caplog.text
    caplog.clear()
    DriftKeeper(path)
    assert not caplog.text


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = DriftKeeper(tmp_path / "missing" / DRIFT_NAME)
    live(keeper, day())
    assert keeper.report is not None
    assert "cannot be kept" in caplog.text
