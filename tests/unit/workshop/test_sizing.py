"""Which of several models is taken, and what is said of the others."""

from __future__ import annotations

import dataclasses
import html.parser
import json
from pathlib import Path
from typing import Any, Literal

import pytest

from edgeapp.measure.figures import Figure, Profile, as_json
from edgeapp.measure.verdict import Budget
from edgeapp.workshop import cli
from edgeapp.workshop.sizing import Sizing, Wanted, frontier, size
from edgeapp.workshop.sizing_page import page
from tests.fakes.profiles import make_profile

_WANTED = Wanted(metric="ap50", floor=0.8, budget=Budget(steady_p95_ms=80))


def _model(
    accuracy: float, p95_ms: float, *, size_bytes: int = 4_000_000, settled: bool = True, board: str = "Raspberry Pi 4"
) -> Profile:
    answer: Literal["settled", "not yet"] = "settled" if settled else "not yet"
    figures = {"ap50": Figure(accuracy, accuracy - 0.03, accuracy + 0.03)}
    if settled:
        figures["steady_p95_ms"] = Figure(p95_ms, p95_ms - 1, p95_ms + 1)
    else:
        figures["p95_ms"] = Figure(p95_ms, p95_ms - 1, p95_ms + 1)
    profile = make_profile(answer=answer, steady_ms=p95_ms * 0.9, **figures)
    return dataclasses.replace(
        profile, subject=dataclasses.replace(profile.subject, size_bytes=size_bytes, board=board)
    )


_THREE = {"small": _model(0.75, 20), "middle": _model(0.85, 40), "large": _model(0.95, 120)}


def _why(sizing: Sizing, name: str) -> str:
    return next(each.why for each in sizing.candidates if each.name == name)


def test_of_three_the_one_that_clears_both_is_taken_and_the_others_say_what_they_miss() -> None:
    sizing = size(_THREE, _WANTED)
    assert (sizing.picked, sizing.exit_status) == ("middle", 0)
    assert sizing.headline == (
        "Take middle: AP50 0.820 of 0.800, at the lower end of its interval; "
        "steady p95 latency 40 ms of 80 ms, 50 % to spare"
    )
    assert "AP50 misses the floor of 0.8 by 10 % (0.750 measured, 0.720 at the lower end of its interval)" in _why(
        sizing, "small"
    )
    assert "steady p95 latency misses its limit of 80 ms by 50 % (120 ms)" in _why(sizing, "large")


def test_with_none_the_nearest_is_named_with_what_it_misses_and_by_how_much() -> None:
    wanted = dataclasses.replace(_WANTED, floor=0.9, budget=Budget(steady_p95_ms=100))
    sizing = size(_THREE, wanted)
    assert (sizing.picked, sizing.standing, sizing.exit_status) == ("", "misses", 3)
    assert "None of 3 clears. Nearest is middle: AP50 misses the floor of 0.9 by 9 %" in sizing.headline


def test_the_lower_end_of_the_interval_must_reach_the_floor() -> None:
    lucky = size({"lucky": _model(0.82, 20)}, _WANTED)
    assert lucky.standing == "misses"
    assert "0.820 measured, 0.790 at the lower end of its interval" in lucky.headline


def test_the_fastest_is_taken_and_of_those_as_fast_the_smallest_file() -> None:
    models = {
        "fast": _model(0.9, 30, size_bytes=5_000_000),
        "as fast": _model(0.9, 31, size_bytes=2_000_000),
        "slower": _model(0.9, 50, size_bytes=1_000_000),
    }
    assert size(models, _WANTED).picked == "as fast"


def test_one_without_head_room_is_taken_only_where_no_other_clears() -> None:
    tight, roomy = _model(0.9, 76), _model(0.9, 70)
    assert size({"tight": tight}, _WANTED).headline.startswith("Take tight, with little to spare")
    assert size({"tight": tight, "roomy": roomy}, _WANTED).picked == "roomy"


def test_what_has_not_settled_is_not_taken_unless_provisionally() -> None:
    models = {"unsettled": _model(0.9, 30, settled=False)}
    sizing = size(models, _WANTED)
    assert (sizing.standing, sizing.exit_status) == ("unknown", 4)
    assert _why(sizing, "unsettled") == "has not settled: latency rests"
    assert size(models, _WANTED, is_provisional=True).picked == "unsettled"


def test_without_accuracy_nothing_is_promised() -> None:
    blank = make_profile()
    sizing = size({"blank": blank}, _WANTED)
    assert (sizing.standing, _why(sizing, "blank")) == ("unknown", "AP50 not measured")


def test_frontier_is_what_no_other_beats_in_both() -> None:
    models = {**_THREE, "worse": _model(0.84, 60), "worst": _model(0.5, 500)}
    assert frontier(size(models, _WANTED).candidates) == [(20, 0.75), (40, 0.85), (120, 0.95)]


@pytest.mark.parametrize("wanted", [_WANTED, dataclasses.replace(_WANTED, budget=Budget())])
def test_page_shows_every_candidate(wanted: Wanted) -> None:
    sizing = size({**_THREE, "<odd>": make_profile()}, wanted)
    text = page(sizing, wanted, "Raspberry Pi 4")
    html.parser.HTMLParser().feed(text)
    assert "<odd>" not in text
    assert text.count("<circle") == 3
    for name in ("small", "middle", "large", "&lt;odd&gt;"):
        assert name in text


def _write(folder: Path, models: dict[str, Profile]) -> list[str]:
    for name, profile in models.items():
        (folder / f"{name}.json").write_text(as_json(profile))
    return [str(folder / f"{name}.json") for name in models]


def test_command_reads_profiles_writes_the_page_and_its_status_follows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, out = _write(tmp_path, _THREE), str(tmp_path / "size.html")
    command = ["size", *paths, "--board", "rpi4", "--out", out, "--json", "--budget"]
    assert cli.main([*command, "80", "--floor", "0.8"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (found["picked"], found["board"]) == ("middle", "Raspberry Pi 4")
    (tmp_path / "budget.yaml").write_text("steady_p95_ms: 10\n")
    assert cli.main([*command, str(tmp_path / "budget.yaml"), "--floor", "0.8"]) == 3
    assert "small" in json.loads(capsys.readouterr().out)["headline"]
    assert (tmp_path / "size.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("models", "arguments", "said"),
    [
        (_THREE, ["--board", "rpi5"], "expected profiles of 'Raspberry Pi 5', found 'Raspberry Pi 4'"),
        ({**_THREE, "other": _model(0.9, 30, board="Raspberry Pi 5")}, [], "expected profiles of one board"),
    ],
)
def test_profiles_of_another_board_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], models: dict[str, Profile], arguments: list[str], said: str
) -> None:
    paths = _write(tmp_path, models)
    assert cli.main(["size", *paths, "--floor", "0.8", "--budget", "80", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_folder_without_frames_is_refused_before_it_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["size", str(tmp_path), "--floor", "0.8", "--budget", "80"]) == 1
    assert "--frames and --labels" in capsys.readouterr().err
