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
from edgeapp.updates.store import Store
from tests.fakes.power.file_calls import around_file_calls
from tests.fakes.power.story import FACTORY, Teller
from tests.fakes.power.witness import Verdict, fork_teller, last_told

IsPoint = Callable[[str, tuple[Any, ...]], bool]


def every_call(_name: str, _arguments: tuple[Any, ...]) -> bool:
    """Before and after each call that changes a file."""
    return True


def every_commit(name: str, arguments: tuple[Any, ...]) -> bool:
    """Before and after a state gets its name: in every phase, before and after it is persisted."""
    return name == "replace" and Path(arguments[1]).name in SLOTS


def try_kills(
    work: Path,
    tell: Callable[[Teller], object],
    is_point: IsPoint,
    *,
    step: int = 1,
    stop_at_first: bool = False,
    on_share: Callable[[float], object] = lambda _: None,
) -> Verdict:
    """Judge the store after a kill at each point of the story, or at each `step`-th, and after its end.

    `on_share` is told which share of the points has been tried.
    """
    root, log = work / "killed" / "store", work / "killed.log"
    verdict, was_killed, points = Verdict(), True, _count(work / "counted", is_point, tell)
    while was_killed:
        shutil.rmtree(root.parent, ignore_errors=True)
        root.parent.mkdir(parents=True)
        work_until_killed = functools.partial(_work_until_killed, verdict.tried * step, is_point, tell)
        child = fork_teller(root, log, work_until_killed)
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status)
        verdict.add(root, *last_told(log))
        on_share(min(verdict.tried * step / points, 1.0))
        if stop_at_first and verdict.wrong:
            return verdict
    if os.waitstatus_to_exitcode(status):
        verdict.wrong.append("bad: the story could not be told to its end")
    return verdict


def _count(root: Path, is_point: IsPoint, tell: Callable[[Teller], object]) -> int:
    """How many points the story has."""
    count = 0
    shutil.rmtree(root, ignore_errors=True)

    def pass_point(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        count += is_point(name, arguments)

    with mock.patch.object(os, "fsync"), around_file_calls(before=pass_point, after=pass_point):
        tell(Teller(Store(root, FACTORY)))
    return count


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
