"""A long script tells a person by a bar how far it is, and the program that runs it by lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.fakes import progress
from tests.fakes.field import level0


def test_a_program_reads_each_percent_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown(Console(), "lines") as tell:
        for share in (0.0, 0.001, 0.5, 1.0):
            tell("states", share)
        tell("cuts", 1.0)
    printed = capsys.readouterr()
    told = [progress.read(line) for line in printed.err.splitlines()]
    assert told == [("states", 0.0), ("states", 0.5), ("states", 1.0), ("cuts", 1.0)]
    assert printed.out == ""
    assert progress.read("Traceback (most recent call last):") is None


def test_a_person_gets_a_bar_for_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    shown = io.StringIO()
    with progress.shown(Console(file=shown, force_terminal=True, width=80), "bar") as tell:
        tell("states", 0.5)
        tell("cuts", 1.0)
    assert "states" in shown.getvalue()
    assert "50%" in shown.getvalue()
    assert "cuts" in shown.getvalue()
    assert capsys.readouterr().err == ""


def test_a_step_of_the_device_test_says_what_a_script_said_that_found_nothing() -> None:
    with pytest.raises(AssertionError, match=r"no-such-script ended with 2: .*can't open file"):
        level0.run_script(lambda step, share: None, "no-such-script")
