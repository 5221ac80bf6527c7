"""One check that raises or hangs costs its own line and nothing else."""

from __future__ import annotations

import threading

from edgeapp.doctor.checks import Check
from edgeapp.doctor.examine import examine
from edgeapp.doctor.report import Finding, Judgement

_WELL = Judgement("ok", "fine")
_GOOD = Finding("good", "ok", "fine")


def test_each_check_is_named_before_it_is_done() -> None:
    check = Check("good", lambda: _WELL)
    assert list(examine([check])) == [check, _GOOD]


def test_a_check_that_raises_becomes_a_line_and_the_others_go_on() -> None:
    checks = [Check("bad", lambda: Judgement("ok", str(1 // 0))), Check("good", lambda: _WELL)]
    found = [step for step in examine(checks) if isinstance(step, Finding)]
    assert found[0].level == "fail"
    assert found[0].found == "this check itself failed: ZeroDivisionError: integer division or modulo by zero"
    assert found[1] == _GOOD


def test_a_check_that_hangs_is_given_up_and_the_others_go_on() -> None:
    freed = threading.Event()

    def hang() -> Judgement:
        freed.wait()
        return _WELL

    found = list(examine([Check("slow", hang, 0.05), Check("good", lambda: _WELL)]))
    freed.set()
    assert found[1] == Finding("slow", "fail", "no answer within 0.05 s", "something hangs:  sudo dmesg | tail")
    assert found[3] == _GOOD
