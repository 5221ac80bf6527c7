"""What a store that is about to be interrupted has begun and acknowledged, told to somebody who is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgeapp.updates.state import FRESH, State, parse, serialise
from tests.fakes.power.story import Teller, ToldStore, judge


@dataclass(slots=True)
class Verdict:
    """How many interruptions were tried, and what was wrong with which."""

    tried: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Commits that had been acknowledged and were gone."""
        return sum(each.startswith("lost") for each in self.wrong)

    @property
    def bad(self) -> int:
        """Everything else that was wrong: models that were not verified, trouble at the start."""
        return len(self.wrong) - self.lost

    def add(self, root: Path, acked: State, begun: State, where: str = "") -> None:
        """Judge one more interrupted store. Whatever falls over is a finding; `where` is told with it."""
        self.tried += 1
        try:
            wrong = judge(root, acked, begun)
        except Exception as error:
            wrong = f"bad: {type(error).__name__}: {error}"
        if wrong:
            self.wrong.append(f"{wrong}{where}")

    def take(self, other: Verdict) -> None:
        """Add what was found elsewhere."""
        self.tried += other.tried
        self.wrong += other.wrong


def line(kind: str, state: State) -> str:
    """How a commit is told: `kind` is begun or acked."""
    return f"{kind} {serialise(state).decode().rstrip()}"


def told(text: str) -> tuple[str, State]:
    """What a line says."""
    kind, _, content = text.partition(" ")
    return kind, parse(f"{content}\n".encode(), "witness")


def fork_teller(root: Path, log: Path, work: Callable[[Teller], object]) -> int:
    """Let a child process work on the store at `root` and tell it to the file `log`. Its process id.

    It exits with 0 when its work is done, with 1 when that raised.
    """
    log.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        with log.open("ab", buffering=0) as file:
            # Not by os.write: what is made to happen around that shall not happen here.
            begun, acked = (
                lambda state, kind=kind: file.write(line(kind, state).encode() + b"\n") for kind in ("begun", "acked")
            )
            work(Teller(ToldStore(root, begun, acked)))
        status = 0
    finally:
        os._exit(status)


def last_told(log: Path, before: State = FRESH) -> tuple[State, State]:
    """The last state that was acknowledged, and the last that was begun; `before` where none was told."""
    last = {"begun": before, "acked": before}
    for text in log.read_text().splitlines() if log.exists() else ():
        kind, state = told(text)
        last[kind] = state
    begun = max(last.values(), key=lambda state: state.generation)
    return last["acked"], begun
