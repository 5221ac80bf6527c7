"""The audit of what a device tells of people, from its published bytes alone: is ε at most what is stated?

`audit` is the same for the product and for one with a planted bug. It looks for what is wrong with the bytes
themselves (`Verdict.faults`), and computes a lower bound of ε that no product with the stated ε can exceed, but for a
chance of `error`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from edgeapp.telemetry.budget import DAY, HOUR
from tests.fakes.audited_site import ENTERED, Site, Windows, closed_windows, neighbours, published, standing
from tests.fakes.epsilon_bound import Life, lower_bound

ERROR = 1e-5
Break = Callable[[], AbstractContextManager[object]]
_NOON_S = 1_699_963_200
_REPEATED = 30  # lives; two runs of right noise have not even four of them in common
_POSITION = ("index", "start", "end")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found. `faults` are in words."""

    epsilon: float
    lower_bound: float
    faults: tuple[str, ...]

    @property
    def is_flagged(self) -> bool:
        return bool(self.faults) or self.lower_bound > self.epsilon


def audit(site: Site, seed: int, samples: int, *, error: float = ERROR, breaking: Break = nullcontext) -> Verdict:
    """Audit one site with the neighbouring worlds of `seed`.

    Args:
        samples: lives in all, half of them in each world. Their noise is the kernel's, and never the same again.
        error: the chance that a right product is flagged, at most.
        breaking: what each run of the product runs in; a planted bug.
    """
    with breaking():
        windows = neighbours(site, seed)
    faults: set[str] = set()

    def run(world: Windows, lives: int) -> list[Life]:
        with breaking():
            return list(_lives(published(site, world, lives), site.epsilon, faults))

    one, other = (run(world, samples // 2) for world in windows)
    again = run(windows[0], _REPEATED)
    if again == one[:_REPEATED] and any(value is not None for life in again for value in life.values):
        faults.add("noise that repeats itself")
    return Verdict(site.epsilon, lower_bound(one, other, error), tuple(sorted(faults)))


def _lives(published: Iterable[list[bytes]], epsilon: float, faults: set[str]) -> Iterator[Life]:
    """Lives as an adversary sees them; what is wrong with them beside."""
    for payloads in published:
        shape: list[object] = []
        values: list[float | None] = []
        windows: set[tuple[str, int]] = set()
        spent: dict[str, float] = {}
        for payload in payloads:
            report = json.loads(payload)
            window = report["level"], report["win"]["index"]
            if window in windows:
                faults.add("a window told twice")
            windows.add(window)
            spent[report["level"]] = report["dp"]["epsilon"]
            names = []
            for name, value in _leaves(report.pop("counts")):
                names.append(name)
                values.append(value)
                if type(value) is not int and value is not None:
                    faults.add("a count that is no integer")
            for name in _POSITION:
                del report["win"][name]
            del report["seq"], report["pad"]  # its length is that of the payload
            shape.append((len(payload), str(report), *names))
        if sum(spent.values()) > epsilon * (1 + 1e-9):
            faults.add("levels that say they spend more than the budget")
        yield Life(tuple(shape), tuple(values))


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, float | None]]:
    if isinstance(tree, dict | list):
        for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(branch, f"{name}/{key}")
    else:
        yield name, tree


def rmse(lives: int) -> tuple[float, float]:
    """The root mean square errors of an hour's and a day's count with ε = 1 per day and one family, in tracks."""
    site = replace(ENTERED, privacy=replace(ENTERED.privacy, epsilon_per_day=1.0))
    visitors = 3
    frames = standing(visitors)
    closed = [
        window
        for window in closed_windows(site, _NOON_S, frames).values()
        if window.level in (HOUR, DAY) and window.index == _NOON_S // window.level.seconds
    ]
    squares = {HOUR.name: 0, DAY.name: 0}
    for payloads in published(site, closed, lives):
        for report in map(json.loads, payloads):
            squares[report["level"]] += (report["counts"]["entered"]["person"] - visitors) ** 2
    return math.sqrt(squares[HOUR.name] / lives), math.sqrt(squares[DAY.name] / lives)
