"""What the installer does not do itself, as it sees it: vision's models, the self-test, where files may be had."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeapp.types import Lineup
from edgeapp.updates.download import Source
from edgeapp.updates.release import Budget, TensorFacts
from edgeapp.updates.trial import Look


@dataclass(frozen=True, slots=True)
class SelfTested:
    """What came of a self-test: `code` is empty where the model passed. `tensors` are the interpreter's, by name."""

    code: str
    text: str
    tensors: Mapping[str, TensorFacts]


class Desk(Protocol):
    """Where vision's models are wished for and seen. The pipeline sits on the other side; nothing here waits for it."""

    def line_up(self, wish: Lineup) -> None: ...
    def look(self) -> Look: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Tools:
    """What the installer does not do itself. `self_test` and the sources' reading run in threads of their own.

    `sources` gives where files may be had, from the addresses that a command names; `self_test` is the self-test of a
    model folder within a budget, which ends early when the event is set; `budget` picks this board's of a release.
    `wait_s` is how long this device waits before it fetches for the command of that id, so that a fleet does not fall
    upon one server.
    """

    sources: Callable[[Sequence[str]], Sequence[Source]]
    self_test: Callable[[Path, Budget | None, threading.Event], SelfTested]
    budget: Callable[[Mapping[str, Budget]], Budget | None]
    wait_s: Callable[[str], float]
