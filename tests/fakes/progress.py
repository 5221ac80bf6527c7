"""How far a script is: a bar for a person, or lines for a program that has asked for them by `--progress lines`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TaskID

from edgeapp.workshop.progress import Progress

_LINE = "progress "


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--progress`."""
    parser.add_argument("--progress", choices=("bar", "lines"), default="bar", help="lines: for a program to read")


@contextmanager
def shown(console: Console, way: str) -> Iterator[Progress]:
    """A function to tell the steps and their shares to, for what was chosen by `--progress`."""
    if way == "lines":
        yield _tell_lines()
    else:
        with Bars(console=console) as bars:
            yield show_steps(bars)


def read(line: str) -> tuple[str, float] | None:
    """The step and the share of it that are told in a line; None for any other line."""
    if not line.startswith(_LINE):
        return None
    step, percent = json.loads(line.removeprefix(_LINE))
    return str(step), percent / 100


def show_steps(bars: Bars) -> Progress:
    """A bar for each step."""
    tasks: dict[str, TaskID] = {}

    def show(step: str, share: float) -> None:
        if step not in tasks:
            tasks[step] = bars.add_task(step, total=1.0)
        bars.update(tasks[step], completed=share)

    return show


def _tell_lines() -> Progress:
    last = ("", -1)

    def tell(step: str, share: float) -> None:
        nonlocal last
        if (step, int(share * 100)) != last:
            last = (step, int(share * 100))
            print(_LINE + json.dumps(last), file=sys.stderr, flush=True)

    return tell
