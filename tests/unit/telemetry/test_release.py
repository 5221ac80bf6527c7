"""From exact counts to the bytes of a report: every cell is noised, and nothing but the noised counts shows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.config import CountingConfig, LineConfig, PrivacyConfig, SharesConfig, ZoneConfig
from edgeapp.telemetry import noise
from edgeapp.telemetry.budget import DAY, LEVELS, QUARTER, Level, plan
from edgeapp.telemetry.contributions import Counts
from edgeapp.telemetry.counts_message import counts_message
from edgeapp.telemetry.drift import Comparison, DriftReport
from edgeapp.telemetry.levels import ClosedWindow
from edgeapp.telemetry.release import MAX_COUNT, NoisedFamily, Release, release
from edgeapp.types import CROSSINGS, DWELL, ENTERED, DelegateReport, Event, ModelReport

COUNTING = CountingConfig(
    lines=(LineConfig(name="door", start=(0, 0.5), end=(1, 0.5)),),
    zones=(ZoneConfig(name="shelf", polygon=((0, 0), (1, 0), (1, 1))),),
)
TRACK = PrivacyConfig(shares=SharesConfig(presence=1.0))
DURATION = PrivacyConfig(guarantee="duration")
MODEL = ModelReport("people", 3, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))


def window(level: Level = DAY, entered: int = 0) -> ClosedWindow:
    counts = Counts()
    counts.add([Event(ENTERED, ("person",), each) for each in range(entered)])
    return ClosedWindow(level, 19_675, 86_399.6, counts)


def message(
    told: Release, privacy: PrivacyConfig = TRACK, *, seq: int = 12, lost: int = 0, drift: DriftReport | None = None
) -> bytes:
    return counts_message(
        told,
        privacy,
        device="kiosk-7",
        boot="0123456789abcdef",
        seq=seq,
        lost=lost,
        app_version="0.1.0",
        model=MODEL,
        drift=drift,
    )


def filled(told: Release, value: int | None) -> Release:
    return replace(told, families=tuple(NoisedFamily(each.plan, (value,) * len(each.counts)) for each in told.families))


@pytest.fixture
def noises(monkeypatch: pytest.MonkeyPatch) -> list[Fraction]:
    """The scales asked for; the noise is 1, 2, 3, …"""
    scales: list[Fraction] = []
    numbers = count(1)

    def draw(scale: Fraction) -> int:
        scales.append(scale)
        return next(numbers)

    monkeypatch.setattr(noise, "discrete_laplace", draw)
    return scales


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    text = (resources.files("edgeapp") / "schemas" / "counts-v1.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


def test_every_cell_of_the_plan_gets_noise_of_its_own_also_where_nothing_was_counted(noises: list[Fraction]) -> None:
    of_day = plan(TRACK, COUNTING, ("person", "dog")).releases(DAY)
    told = release(window(entered=1000), plan(TRACK, COUNTING, ("person", "dog")), suppress_below=0)
    assert noises == [family.scale for family in of_day for _ in family.cells]
    flat = [number for family in told.families for number in family.counts if number is not None]
    assert flat == [1001, *range(2, len(noises) + 1)]


def test_suppression_looks_at_the_noised_count_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    site = plan(TRACK, COUNTING, ("person",))
    for noised, is_told in ((9, False), (10, True), (-500, False)):
        monkeypatch.setattr(noise, "discrete_laplace", lambda scale, noised=noised: noised - 7)
        told = release(window(entered=7), site, suppress_below=10)
        assert told.families[0].counts == ((noised,) if is_told else (None,))
    monkeypatch.setattr(noise, "discrete_laplace", lambda scale: -500)
    assert release(window(), site, suppress_below=0).families[0].counts == (-500,), "0 leaves out none"


def test_a_count_beyond_the_fields_width_is_cut_after_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    for sign in (1, -1):
        monkeypatch.setattr(noise, "discrete_laplace", lambda scale, sign=sign: sign * 10**9)
        told = release(window(), plan(TRACK, COUNTING, ("person",)), suppress_below=0)
        assert {number for family in told.families for number in family.counts} == {sign * MAX_COUNT}


def test_the_example_in_the_documentation_is_a_real_message() -> None:
    text = (Path(__file__).parents[3] / "docs" / "messages.md").read_text()
    example = next(each for each in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"counts"' in each)
    counting = CountingConfig(
        lines=(replace(COUNTING.lines[0], name="entrance"),), zones=(replace(COUNTING.zones[0], name="counter"),)
    )
    told = release(
        ClosedWindow(QUARTER, 1_888_888, 900.2, Counts()),
        plan(PrivacyConfig(), counting, ("person",)),
        suppress_below=0,
    )
    noised = ((41,), (12, -3), (-18, 25, 2, -7, 40, 3, 0, -61, 9, 11))
    families = tuple(NoisedFamily(each.plan, counts) for each, counts in zip(told.families, noised, strict=True))
    assert json.loads(message(replace(told, families=families), PrivacyConfig(), seq=13)) == json.loads(example)


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)
@pytest.mark.parametrize("privacy", [TRACK, DURATION, replace(TRACK, suppress_below=5)])
def test_messages_fit_the_published_schema(
    schema: jsonschema.Draft202012Validator, privacy: PrivacyConfig, level: Level
) -> None:
    site = plan(privacy, COUNTING, ("person", "traffic light"))
    told = release(window(level, 20), site, suppress_below=privacy.suppress_below)
    fields = json.loads(message(told, privacy))
    schema.validate(fields)
    assert fields["dp"]["epsilon_per_day"] == 1.0
    assert (fields["dp"]["event"] is None) == (privacy.guarantee == "track")
    assert list(fields["counts"]) == list(fields["dp"]["families"]) == [each.family for each in site.releases(level)]
    assert sum(each["epsilon"] for each in fields["dp"]["families"].values()) == pytest.approx(fields["dp"]["epsilon"])


def test_the_epsilons_of_a_days_levels_sum_up_to_the_daily_one() -> None:
    site = plan(TRACK, COUNTING, ("person",))
    spent = [json.loads(message(release(window(level), site, suppress_below=0)))["dp"]["epsilon"] for level in LEVELS]
    assert sum(spent) == pytest.approx(TRACK.epsilon_per_day)


def test_counts_stand_under_the_words_of_their_cells(noises: list[Fraction]) -> None:
    counts = Counts()
    counts.add(
        [
            Event(ENTERED, ("person",), 1),
            Event(CROSSINGS, ("door", "person", "backward"), 1),
            Event(DWELL, ("shelf", "9"), 1),
        ]
    )
    site = plan(TRACK, COUNTING, ("person",))
    fields = json.loads(message(release(ClosedWindow(DAY, 19_675, 80_000.4, counts), site, suppress_below=0)))
    assert fields["counts"] == {
        "entered": {"person": 1 + 1},
        "crossings": {"door": {"person": {"forward": 2, "backward": 3 + 1}}},
        "presence": {"person": 4},
        "dwell": {"shelf": [5, 6, 7, 8, 9, 10, 11, 12, 13, 14 + 1]},
        "confidence": [15, 16, 17, 18, 19, 20],
    }
    assert fields["win"] == {"index": 19_675, "start": 1_699_920_000, "end": 1_700_006_400, "seconds": 80_000}
    assert fields["level"] == "day"
    assert len(noises) == 20


@settings(max_examples=50)
@given(
    st.one_of(st.none(), st.integers(-MAX_COUNT, MAX_COUNT)),
    st.integers(1, 10**9),
    st.integers(0, 10**9),
    st.floats(0, 10**6),
)
def test_the_length_does_not_depend_on_what_was_counted(value: int | None, seq: int, lost: int, seconds: float) -> None:
    told = release(window(QUARTER), plan(TRACK, COUNTING, ("person",)), suppress_below=0)
    other = replace(filled(told, value), seconds=seconds)
    assert len(message(other, seq=seq, lost=lost)) == len(message(told))


@pytest.mark.parametrize(
    "drift",
    [
        DriftReport(None, None),
        DriftReport(Comparison(0.00004, 12.5), None),
        DriftReport(Comparison(1e9, 0.01), Comparison(0.02, 0.01)),
        DriftReport(None, Comparison(0.01, 0.0123456)),
    ],
)
def test_drift_fits_the_schema_and_does_not_change_the_length(
    schema: jsonschema.Draft202012Validator, drift: DriftReport
) -> None:
    told = release(window(), plan(TRACK, COUNTING, ("person",)), suppress_below=0)
    fields = json.loads(message(told, drift=drift))
    schema.validate(fields)
    assert fields["drift"]["drifting"] == drift.drifting
    assert (fields["drift"]["shipped"] is None, fields["drift"]["site"] is None) == (
        drift.shipped is None,
        drift.site is None,
    )
    assert len(message(told, drift=drift)) == len(message(told, drift=DriftReport(None, None)))


def test_every_field_of_the_message_is_in_the_schema_and_required(schema: jsonschema.Draft202012Validator) -> None:
    told = release(window(), plan(TRACK, COUNTING, ("person",)), suppress_below=0)
    fields: dict[str, Any] = json.loads(message(told))
    for name in fields:
        assert not schema.is_valid({key: value for key, value in fields.items() if key != name})
    assert not schema.is_valid(fields | {"true_counts": 1})
    assert not schema.is_valid(fields | {"pad": "free text"})
