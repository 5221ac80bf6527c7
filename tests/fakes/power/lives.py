"""Crash states by the thousand: those of the story, and of as many lives made up by chance as it takes to get them."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from tests.fakes.power.crash_states import judge_states, record, spread
from tests.fakes.power.story import Teller
from tests.fakes.power.witness import Verdict

_PER_LIFE = 500  # in each mode; a story has about 1300 when quiet and 4000 when noisy
_AT_ONCE = 50
_PER_PROCESSOR = 2  # most of a state's time goes to waiting for the kernel


def try_lives(work: Path, count: int, on_tried: Callable[[int], object]) -> Verdict:
    """Judge `count` states on all processors; `on_tried` is told how many have been judged."""
    verdict = Verdict()
    workers = _PER_PROCESSOR * len(os.sched_getaffinity(0))
    # Not forked: threads run here that hold locks.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for judged in as_completed(_submit(pool, work, count)):
            verdict.take(judged.result())
            on_tried(verdict.tried)
    return verdict


def _submit(pool: ProcessPoolExecutor, work: Path, count: int) -> list[Future[Verdict]]:
    waiting, left = list[Future[Verdict]](), count
    for story, tell, is_noisy, limit in _stories(count):
        before, log = record(work, tell, is_noisy=is_noisy)
        numbers = spread(before, log, min(limit, left))
        left -= len(numbers)
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            waiting.append(pool.submit(judge_states, work, before, log, some, story=story))
        if left == 0:
            break
    return waiting


def _stories(count: int) -> Iterator[tuple[str, Callable[[Teller], object], bool, int]]:
    """What to record, without end: its name, how it is told, whether it is noisy, and how many states of it to take."""
    for is_noisy, mode in ((False, "quiet"), (True, "noisy")):
        yield f"the story, {mode}", Teller.tell, is_noisy, count // 2
    for seed in itertools.count(1):
        for is_noisy, mode in ((False, "quiet"), (True, "noisy")):
            yield f"life {seed}, {mode}", partial(_live, seed), is_noisy, _PER_LIFE


def _live(seed: int, teller: Teller) -> None:
    teller.live(random.Random(seed))
