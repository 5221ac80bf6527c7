"""SIGKILL at a chosen call of a story: no page cache is lost, so this finds steps that are left half done."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from edgeapp.updates.recovery import SLOTS
from tests.fakes.power.file_calls import around_file_calls
from tests.fakes.power.story import Teller
from tests.fakes.power.witness import Verdict, fork_teller, last_told

IsPoint = Callable[[str, tuple[Any, ...]], bool]


def every_call(_name: str, _arguments: tuple[Any, ...]) -> bool:
    """Before and after each call that changes a file."""
    return True


def every_commit(name: str, arguments: tuple[Any, ...]) -> bool:
    """Before and after a state gets its name: in every phase, before and after it is persisted."""
    return name == "replace" and Path(arguments[1]).name in SLOTS


def try_kills(work: Path, tell: Callable[[Teller], object], is_point: IsPoint, *, step: int = 1) -> Verdict:
    """Judge the store after a kill at each point of the story, or at each `step`-th, and after its end."""
    root, log = work / "killed" / "store", work / "killed.log"
    verdict, was_killed = Verdict(), True
    while was_killed:
        shutil.rmtree(root.parent, ignore_errors=True)
        root.parent.mkdir(parents=True)
        work_until_killed = functools.partial(_work_until_killed, verdict.tried * step, is_point, tell)
        child = fork_teller(root, log, work_until_killed)
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status)
        verdict.add(root, *last_told(log))
    if os.waitstatus_to_exitcode(status):
        verdict.wrong.append("bad: the story could not be told to its end")
    return verdict


def _work_until_killed(number: int, is_point: IsPoint, tell: Callable[[Teller], object], teller: Teller) -> None:
    passed = 0

    def pass_point(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal passed
        if is_point(name, arguments):
            if passed == number:
                os.kill(os.getpid(), signal.SIGKILL)
            passed += 1

    # A killed process leaves its page cache behind, so there is nothing to wait for.
    with mock.patch.object(os, "fsync"), around_file_calls(before=pass_point, after=pass_point):
        tell(teller)
