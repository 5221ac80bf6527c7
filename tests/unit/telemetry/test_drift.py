from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.telemetry.drift import BASELINE_DAYS, DriftReport, DriftWatch
from edgeapp.telemetry.noise import standard_deviation
from tests.fakes.drift_lab import DROP, MODEL, SITES, Site, alarm_rate

# (scale of the noise, tracks a day from which on the drop is found at the first site nearly always): the scale is 4
# where the budget of 1 goes to entered and confidence with the default shares, 8 where also to a line and a zone.
ENOUGH = [(Fraction(1), 600), (Fraction(4), 900), (Fraction(8), 1400), (Fraction(20), 2800)]


def watched(days: Iterator[list[int]], scale: Fraction, watch: DriftWatch) -> tuple[DriftWatch, list[DriftReport]]:
    reports = []
    for counts in days:
        watch, report = watch.step(counts, scale, model=MODEL, shipped=None)
        reports.append(report)
    return watch, reports


@pytest.mark.parametrize("tracks", [120, 300, 1000, 5000])
@pytest.mark.parametrize("scale", [Fraction(1), Fraction(4), Fraction(8)])
@pytest.mark.parametrize("site", SITES)
def test_thirty_clean_days_raise_no_alarm(site: tuple[float, float], scale: Fraction, tracks: int) -> None:
    for seed in range(5):
        _, reports = watched(Site(*site, seed).days(tracks, scale, BASELINE_DAYS + 30), scale, DriftWatch())
        assert [report.drifting for report in reports[:BASELINE_DAYS]] == [None] * BASELINE_DAYS
        assert True not in [report.drifting for report in reports]


@pytest.mark.parametrize(("scale", "tracks"), ENOUGH)
def test_a_drop_of_the_mean_confidence_by_four_hundredths_is_found_on_its_first_day(
    scale: Fraction, tracks: int
) -> None:
    missed = 0
    for seed in range(40):
        site = Site(*SITES[1], seed)
        watch, _ = watched(site.days(tracks, scale, BASELINE_DAYS), scale, DriftWatch())
        _, (report,) = watched(site.days(tracks, scale, 1, DROP), scale, watch)
        missed += report.drifting is not True
    assert missed == 0


@pytest.mark.parametrize(("scale", "tracks"), [(Fraction(1), 300), (Fraction(8), 1000), (Fraction(20), 1000)])
def test_at_most_one_clean_day_in_ten_thousand_raises_an_alarm(scale: Fraction, tracks: int) -> None:
    assert alarm_rate(SITES[2], scale, tracks, 30_000, shift=0.0, seed=3) <= 1e-4


def test_the_rule_of_thumb_cries_wolf_over_the_same_clean_days() -> None:
    """PSI above 0.2, with negative cells set to nearly nothing."""

    def shares(counts: list[int]) -> NDArray[np.float64]:
        raised = np.maximum(counts, 0.5)
        return np.asarray(raised / raised.sum())

    first, *days = Site(*SITES[1], seed=1).days(250, Fraction(8), 31)
    differences = [(shares(day) - shares(first), shares(day) / shares(first)) for day in days]
    assert sum(float(np.sum(delta * np.log(ratio))) > 0.2 for delta, ratio in differences) >= 10


def test_days_that_differ_a_little_in_truth_raise_no_alarm() -> None:
    site, scale, watch = Site(*SITES[1], seed=5), Fraction(1), DriftWatch()
    for day in range(BASELINE_DAYS + 30):
        wobble = 0.005 * math.sin(day)
        watch, (report,) = watched(site.days(20_000, scale, 1, wobble), scale, watch)
        assert report.drifting is not True


def test_too_few_tracks_are_not_judged_and_do_not_enter_the_baseline() -> None:
    for scale, tracks in [(Fraction(1), 50), (Fraction(8), 100)]:
        watch, reports = watched(Site(*SITES[1], seed=1).days(tracks, scale, 20), scale, DriftWatch(model=MODEL))
        assert watch == DriftWatch(model=MODEL)
        assert {report.drifting for report in reports} == {None}


def test_negative_cells_are_taken_as_they_come() -> None:
    baseline = DriftWatch(
        model=MODEL, days=BASELINE_DAYS, counts=(-90, 700, 1400, 2100, 1400, -90), noise_variance=900.0
    )
    clean = baseline.step([-60, 100, 200, 300, 200, -60], Fraction(8), model=MODEL, shipped=None)[1]
    moved = baseline.step([300, 200, 300, 100, -60, -60], Fraction(8), model=MODEL, shipped=None)[1]
    assert clean.drifting is False
    assert moved.drifting is True


def test_the_baseline_is_the_first_seven_days_and_stays() -> None:
    scale = Fraction(4)
    days = list(Site(*SITES[1], seed=2).days(500, scale, 20))
    watch, _ = watched(iter(days), scale, DriftWatch())
    assert watch.days == BASELINE_DAYS
    assert watch.counts == tuple(np.sum(days[:BASELINE_DAYS], axis=0))
    assert watch.noise_variance == pytest.approx(BASELINE_DAYS * standard_deviation(scale) ** 2)


def test_another_model_begins_another_baseline() -> None:
    scale = Fraction(1)
    watch, _ = watched(Site(*SITES[1], seed=2).days(500, scale, 10), scale, DriftWatch())
    day = [0, 0, 0, 100, 200, 200]
    other, report = watch.step(day, scale, model="model-2", shipped=None)
    assert other.model == "model-2"
    assert (other.days, other.counts) == (1, tuple(day))
    assert report.drifting is None


def test_a_site_unlike_the_shipped_baseline_is_told_from_the_first_day_but_is_no_drift() -> None:
    site, scale = Site(*SITES[1], seed=6), Fraction(4)
    shipped = {shift: [round(20_000 * share) for share in site.shares(shift)] for shift in (0.0, DROP)}
    watch = DriftWatch()
    for counts in site.days(1500, scale, 20):
        alike = watch.step(counts, scale, model=MODEL, shipped=shipped[0.0])[1]
        watch, unlike = watch.step(counts, scale, model=MODEL, shipped=shipped[DROP])
        assert alike.shipped is not None
        assert not alike.shipped.is_exceeded
        assert unlike.shipped is not None
        assert unlike.shipped.is_exceeded
        assert unlike.drifting is not True


def test_the_watch_survives_on_disk() -> None:
    watch, _ = watched(Site(*SITES[1], seed=2).days(500, Fraction(4), 5), Fraction(4), DriftWatch())
    assert read_json(DriftWatch, watch.as_json(), "drift.json") == watch
    assert set(json.loads(watch.as_json())) == {"model", "days", "counts", "noise_variance"}


@pytest.mark.parametrize("change", [{"days": 8}, {"counts": [1, 2]}, {"noise_variance": -1.0}, {"more": 1}])
def test_a_watch_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(EdgeAppError):
        read_json(DriftWatch, json.dumps(json.loads(DriftWatch().as_json()) | change), "drift.json")
