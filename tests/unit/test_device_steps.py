"""The account of a device test says of each step what came of it, and never makes up a pass."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeapp.workshop.progress import Progress
from tests.fakes.field import installed, level0, nspawn
from tests.fakes.field.reports import expect_no_gap, numbers
from tests.fakes.field.steps import Account, DidNotRunError, Result
from tests.fakes.subscriber import Received


def account(only: str = "") -> tuple[Account, list[Result]]:
    ended: list[Result] = []
    return Account(lambda _: None, ended.append, only), ended


def test_each_step_is_counted_by_what_came_of_it() -> None:
    def fail() -> str:
        raise AssertionError("expected 2")

    def cannot() -> str:
        raise DidNotRunError("no such device")

    def break_down() -> str:
        raise ValueError("a surprise")

    told, ended = account()
    assert told.step("good", lambda: "found")
    assert not told.step("bad", fail)
    assert not told.step("impossible", cannot)
    assert not told.step("broken", break_down)
    assert not told.step("later", lambda: "found", needs=False, otherwise="bad did not pass")
    found = told.as_object()
    assert (found["passed"], found["failed"], found["did_not_run"]) == (1, 2, 2)
    assert [one["outcome"] for one in found["steps"]] == ["PASS", "FAIL", "DID NOT RUN", "FAIL", "DID NOT RUN"]
    assert [one.text.splitlines()[-1] for one in ended] == [
        "found",
        "expected 2",
        "no such device",
        "ValueError: a surprise",
        "bad did not pass",
    ]


def test_only_the_steps_asked_for_and_what_they_build_on_are_done() -> None:
    told, ended = account("late")
    for name in ("boot", "early", "late"):
        told.step(name, lambda: "", is_base=name == "boot")
    assert [one.name for one in ended] == ["boot", "late"]


def test_what_nothing_builds_on_that_is_asked_for_need_not_be_done() -> None:
    told, _ = account("late")
    assert told.wants("early", "too late")
    assert not told.wants("boot", "early")


def test_tracks_beside_each_other_are_told_one_result_at_a_time_and_counted_alike() -> None:
    at_work: list[tuple[str, ...]] = []
    told, ended = account()
    told.on_change = lambda names: at_work.append(tuple(names))
    both_work = threading.Barrier(2, timeout=60)

    def meet() -> str:
        both_work.wait()
        return "met"

    def fail() -> str:
        both_work.wait()
        raise AssertionError("expected 2")

    told.side_by_side(lambda: told.step("one", meet), lambda: told.step("other", fail))
    assert {one.name: one.outcome for one in ended} == {"one": "PASS", "other": "FAIL"}
    assert set(max(at_work, key=len)) == {"one", "other"}
    assert at_work[-1] == ()
    assert (told.as_object()["passed"], told.as_object()["failed"]) == (1, 1)


def test_a_long_step_tells_how_far_it_is() -> None:
    shown: list[tuple[str, ...]] = []
    told, ended = account()
    told.on_change = lambda steps: shown.append(tuple(steps))

    def soak(tell: Progress) -> str:
        tell("faults", 0.25)
        return "none lost"

    told.told_steps({"soak": soak})
    assert shown == [("soak",), ("soak (faults 25%)",), ()]
    assert [(one.name, one.text) for one in ended] == [("soak", "none lost")]


def test_a_track_that_breaks_off_is_no_pass_and_ends_the_others_after_their_step() -> None:
    told, ended = account()
    has_broken = threading.Event()

    def breaks() -> None:
        has_broken.set()
        raise OSError("no space left")

    def take_long() -> str:
        time.sleep(0.01)
        return ""

    def goes_on() -> None:
        has_broken.wait(60)
        for number in range(1000):
            told.step(f"step {number}", take_long)

    with pytest.raises(OSError, match="no space left"):
        told.side_by_side(breaks, goes_on)
    assert len(ended) < 1000


def test_without_root_each_step_on_a_device_says_that_it_did_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = dataclasses.replace(installed.own_tree(), python=Path(sys.executable))  # whichever this environment has
    monkeypatch.setattr(installed, "own_tree", lambda: tree)
    monkeypatch.setattr(nspawn.os, "geteuid", lambda: 1000)
    told, ended = account("sandbox")
    level0.run(told, tmp_path)
    assert len(ended) > 3
    assert {(one.outcome, one.text) for one in ended} == {("DID NOT RUN", "needs root")}


def test_a_report_that_is_missing_is_noticed_and_a_number_that_a_later_run_gave_again_is_no_excuse() -> None:
    def report(seq: int, boot: str, kind: str = "telemetry") -> Received:
        return Received(f"edgeapp/v1/default/d/{kind}", json.dumps({"seq": seq, "boot": boot}).encode(), False)

    came = [report(7, "a"), report(8, "a", "counts"), report(9, "b"), report(9, "b"), report(3, "a", "status")]
    assert expect_no_gap(came) == 3
    assert numbers(came, "a") == {7, 8}, "9 is another run's"
    with pytest.raises(AssertionError, match=r"\[8\] of \[7, 9\] are missing"):
        expect_no_gap([came[0], came[2]])
