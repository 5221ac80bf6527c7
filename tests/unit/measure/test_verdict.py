"""The verdict on a profile, and what differs between two."""

from __future__ import annotations

import dataclasses
import html.parser
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeapp.errors import ConfigError
from edgeapp.measure import commands, difference
from edgeapp.measure.figures import Figure, Histogram, Moment, Profile, as_json
from edgeapp.measure.report_page import page
from edgeapp.measure.verdict import Budget, judge
from edgeapp.reader import read_json
from edgeapp.vision.tuning import Measured
from tests.fakes.profiles import make_profile

SCHEMA = json.loads((Path(commands.__file__).parents[1] / "schemas" / "profile-v1.schema.json").read_text())


@pytest.mark.parametrize(
    ("budget", "profile", "status", "said"),
    [
        (Budget(steady_p95_ms=40), make_profile(), 0, "Clears with 25 % to spare: stop optimising"),
        (Budget(steady_p95_ms=31), make_profile(), 0, "Clears, but with only 3 % to spare"),
        (Budget(steady_p95_ms=30), make_profile(), 0, "only 0 % to spare"),
        (Budget(steady_p95_ms=24, rss_mb=500), make_profile(), 1, "Misses by 25 %: steady p95 latency is 30 ms of"),
        (Budget(fps=40), make_profile(), 1, "Misses by 25 %: throughput is 30 fps of at least 40 fps"),
        (Budget(ap50=0.9), make_profile(ap50=Figure(0.8, 0.7, 0.9)), 1, "AP50 is 0.800 of at least 0.900"),
        (Budget(ap50=0.9), make_profile(), 2, "Cannot be told: AP50 not measured"),
        (Budget(p95_ms=40), make_profile(answer="not yet"), 2, "so far, but has not settled after 600 s"),
        (Budget(p95_ms=20), make_profile(answer="not yet"), 1, "Misses by 50 %"),
        (None, make_profile(), 0, "Settled: 95 of 100 frames take at most 30 ms"),
        (None, make_profile(answer="not yet"), 2, "Has not settled"),
    ],
)
def test_the_verdict_says_how_much_is_to_spare_or_missing(
    budget: Budget | None, profile: Profile, status: int, said: str
) -> None:
    judgement = judge(profile, budget)
    assert said in judgement.headline
    assert judgement.exit_status == status


@pytest.mark.parametrize(
    ("budget", "changes", "advice"),
    [
        (Budget(steady_p95_ms=24), {}, "Attack invoke first (20 of 25.5 ms a frame): it would have to come"),
        (Budget(steady_p95_ms=24), {}, "xnnpack with 2 threads takes 45 % less"),
        (Budget(steady_p95_ms=5), {}, "even without it the budget is missed"),
        (Budget(steady_p95_ms=24), {"start_ms": 15.0}, "Attack the slow-down first"),
        (Budget(steady_p95_ms=24), {"start_ms": 22.0}, "Attack invoke first"),
        (Budget(rss_mb=50), {}, "Attack memory first"),
        (Budget(cold_load_ms=50), {}, "Attack loading first"),
        (Budget(ap50=0.9), {"ap50": Figure(0.5)}, "No stage helps here"),
    ],
)  # fmt: skip
def test_a_miss_says_what_to_attack_first(budget: Budget, changes: dict[str, Any], advice: str) -> None:
    assert advice in judge(make_profile(**changes), budget).notes[0]


def test_a_slow_down_is_told_and_noise_is_not() -> None:
    assert any("60 % more" in note for note in judge(make_profile(start_ms=15.625), None).notes)
    assert not any("slows down" in note for note in judge(make_profile(start_ms=24.0), None).notes)


def test_the_document_keeps_the_schema_and_is_read_back() -> None:
    profile = make_profile(ap50=Figure(0.812345678, 0.7, 0.9))
    document = as_json(profile)
    jsonschema.validate(json.loads(document), SCHEMA)
    again = read_json(Profile, document, "report.json")
    assert as_json(again) == document
    assert again.figures["ap50"] == Figure(0.81235, 0.7, 0.9)
    assert again.subject == profile.subject


def test_the_largest_document_is_not_too_large_for_our_reader() -> None:
    moment = Moment(time_s=1234.56789, median_ms=123.456789, p95_ms=1234.56789, temp_c=61.512345, clock_mhz=1800.12345)
    ways = tuple(
        Measured(delegate=way, threads=count, median_ms=12.3456789, p99_ms=12.3456789)
        for way in ("xnnpack", "none") for count in range(1, 9)
    )  # fmt: skip
    histogram = Histogram(low_ms=1.234567, step_ms=0.1234567, counts=(123_456,) * 40)
    profile = dataclasses.replace(make_profile(), moments=(moment,) * 200, ways=ways, histogram=histogram)
    assert read_json(Profile, as_json(profile), "report.json").moments[0].temp_c == 61.512


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("temp_c", [61.5, None])
def test_the_page_is_whole_by_itself_and_says_the_verdict_first(temp_c: float | None) -> None:
    profile = make_profile(temp_c=temp_c, ap50=Figure(0.8, 0.7, 0.9))
    judgement = judge(profile, Budget(steady_p95_ms=40))
    parsed = _Page()
    parsed.feed(page(profile, judgement))
    assert not parsed.open
    assert not parsed.links
    assert "script" not in parsed.tags
    assert "Board <1>" in parsed.text
    assert 0 < parsed.text.index(judgement.headline) < parsed.text.index("Latency over time")
    assert ("tells no temperature" in parsed.text) == (temp_c is None)
    assert parsed.text.count("0.700 to 0.900") == 1


def test_a_difference_inside_its_interval_is_not_called_one() -> None:
    first = make_profile(p95_ms=Figure(30.0, 28.0, 32.0), p50_ms=Figure(20.0, 19.5, 20.5), fps=Figure(40.0, 39.0, 41.0))
    second = make_profile(p95_ms=Figure(32.0, 30.0, 34.0), p50_ms=Figure(10.0, 9.8, 10.2), fps=Figure(20.0, 19.0, 21.0))
    found = {each.name: each for each in difference.compare(first, second)}
    assert {name: found[name].answer for name in ("p95_ms", "p50_ms", "fps", "rss_mb")} == {
        "p95_ms": "same", "p50_ms": "better", "fps": "worse", "rss_mb": "no interval",
    }  # fmt: skip
    assert found["p50_ms"].ratio == 0.5
    shown = difference.text(first, second, tuple(found.values()))
    assert "no difference" in next(line for line in shown.splitlines() if line.startswith("p95 latency"))


def test_a_profile_does_not_differ_from_itself() -> None:
    profile = make_profile(ap50=Figure(0.8, 0.7, 0.9))
    assert {each.answer for each in difference.compare(profile, profile)} == {"same", "no interval"}


def test_a_budget_with_a_slip_of_the_pen_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text("p95ms: 40\n")
    with pytest.raises(ConfigError, match="did you mean p95_ms"):
        commands.read_budget(path)
