"""A person reads lines that can be copied, a program reads an object, and both get the same."""

from __future__ import annotations

from edgeapp.doctor.report import Finding, as_object, conclusion, exit_status, level, text

_OK = Finding("clock", "ok", "synchronised")
_WARN = Finding("memory", "warn", "100 of 400 MiB available", "stop what else runs")
_FAIL = Finding("broker", "fail", "connection refused", "start it\nor correct the port")


def test_only_a_failure_ends_with_status_1() -> None:
    assert [exit_status(found) for found in ((), (_OK,), (_OK, _WARN), (_WARN, _FAIL, _OK))] == [0, 0, 0, 1]
    assert [level(found) for found in ((), (_OK,), (_OK, _WARN), (_WARN, _FAIL, _OK))] == ["ok", "ok", "warn", "fail"]


def test_what_to_do_stands_on_lines_of_its_own_and_is_never_wrapped() -> None:
    command = "sudo " + "very " * 40 + "long"
    shown = text(Finding("power", "warn", "word " * 40, command), width=60).splitlines()
    assert shown[-1].strip() == f"→ {command}"
    assert all(len(line) <= 60 for line in shown[:-1])
    assert " ".join(shown[:-1]).split() == ["WARN", "power", *["word"] * 40]


def test_what_is_one_line_stays_one_where_a_program_reads_it() -> None:
    found = "word " * 40 + "end"
    assert text(Finding("power", "warn", found), width=None) == f"WARN  power        {found}"


def test_lines_keep_the_breaks_of_what_was_found() -> None:
    shown = text(Finding("config", "fail", "first mistake\nsecond mistake"), width=200).splitlines()
    assert shown[0] == "FAIL  config       first mistake"
    assert shown[1].strip() == "second mistake"


def test_colour_is_only_for_terminals() -> None:
    assert "\033" not in text(_FAIL, width=80)
    assert text(_FAIL, width=80, is_coloured=True).startswith("\033[1;31mFAIL\033[0m")


def test_the_last_line_names_what_is_not_well() -> None:
    assert conclusion((_OK, _OK)) == "All 2 checks are ok."
    assert conclusion((_OK, _WARN)) == "Nothing failed; 1 with a warning: memory."
    assert conclusion((_WARN, _FAIL)) == "1 failed: broker; 1 with a warning: memory."


def test_a_program_gets_the_worst_level_and_every_check() -> None:
    assert as_object((_OK, _FAIL)) == {
        "level": "fail",
        "checks": [
            {"name": "clock", "level": "ok", "found": "synchronised", "do": ""},
            {"name": "broker", "level": "fail", "found": "connection refused", "do": "start it\nor correct the port"},
        ],
    }
