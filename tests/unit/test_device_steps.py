"""The account of a device test says of each step what came of it, and never makes up a pass."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tests.fakes.field import installed, level0, nspawn
from tests.fakes.field.steps import Account, DidNotRunError, Result


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
