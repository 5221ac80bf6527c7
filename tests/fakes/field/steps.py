"""The steps of a device test: each passes, fails, or says why it did not run.

Owns the account and its words; what a step does is not known here. A step fails by an AssertionError or any other
exception; it does not run where it raises DidNotRunError, or where a step that it needs has not passed.
"""

from __future__ import annotations

import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

from edgeapp.workshop.progress import Progress

Outcome = Literal["PASS", "FAIL", "DID NOT RUN"]
ToldStep = Callable[[Progress], str]


class DidNotRunError(Exception):
    """This machine cannot do the step; says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one step. `text` is what was found, or why not."""

    name: str
    outcome: Outcome
    text: str
    seconds: float


@dataclass(slots=True)
class Account:
    """All steps so far, in the order in which they ended. `on_change` is told the steps at work, and how far they are,
    whenever that changes, `on_end` of each result; never two at once. Steps without `only` in their name are left out,
    apart from those that others build on."""

    on_change: Callable[[Sequence[str]], None]
    on_end: Callable[[Result], None]
    only: str = ""
    results: list[Result] = field(default_factory=list)
    _at_work: dict[str, str] = field(default_factory=dict)
    _is_broken_off: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began_s: float = field(default_factory=time.monotonic)

    def step(
        self, name: str, action: Callable[[], str], *, needs: bool = True, otherwise: str = "", is_base: bool = False
    ) -> bool:
        """Do one step; `action` returns what it found in a few words. True when it passed.

        Where what it `needs` is not there, it does not run, for the reason `otherwise`. `is_base`: others build on it.
        """
        if self._is_broken_off or (self.only not in name and not is_base):
            return False
        self._show(name)
        began_s = time.monotonic()
        outcome, text = self._try(action) if needs else ("DID NOT RUN", otherwise)
        result = Result(name, outcome, text, round(time.monotonic() - began_s, 1))
        with self._lock:
            self.results.append(result)
            del self._at_work[name]
            self.on_end(result)
            self.on_change(tuple(self._at_work.values()))
        return outcome == "PASS"

    def told_steps(self, steps: Mapping[str, ToldStep]) -> None:
        """Do long steps one after the other, each of which tells how far it is."""
        for name, action in steps.items():
            self.step(name, partial(action, partial(self._show_share, name)))

    def side_by_side(self, *tracks: Callable[[], object]) -> None:
        """Do tracks of steps beside each other. Where one raises, or this is interrupted, no further step begins."""
        with ThreadPoolExecutor(len(tracks)) as pool:
            try:
                done = wait([pool.submit(track) for track in tracks], return_when=FIRST_EXCEPTION).done
                for each in done:
                    each.result()
            except BaseException:
                self._is_broken_off = True
                raise

    def wants(self, *names: str) -> bool:
        """Whether any of these steps is asked for: if none is, what they build on need not be done either."""
        return any(self.only in name for name in names)

    def as_object(self) -> dict[str, Any]:
        """What --json prints. Of steps beside each other the seconds sum up to more than `seconds`."""
        counts = {name: sum(one.outcome == name for one in self.results) for name in ("PASS", "FAIL", "DID NOT RUN")}
        return {
            "passed": counts["PASS"],
            "failed": counts["FAIL"],
            "did_not_run": counts["DID NOT RUN"],
            "seconds": round(time.monotonic() - self._began_s, 1),
            "steps": [asdict(one) for one in self.results],
        }

    def _show_share(self, name: str, part: str, share: float) -> None:
        self._show(name, f" ({part} {share:.0%})")

    def _show(self, name: str, how_far: str = "") -> None:
        with self._lock:
            self._at_work[name] = f"{name}{how_far}"
            self.on_change(tuple(self._at_work.values()))

    @staticmethod
    def _try(action: Callable[[], str]) -> tuple[Outcome, str]:
        try:
            return "PASS", action()
        except DidNotRunError as reason:
            return "DID NOT RUN", str(reason)
        except AssertionError as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "FAIL", str(error) or f"{where.name}, line {where.lineno}: {where.line}"
        except subprocess.CalledProcessError as error:
            return "FAIL", f"{error}: {error.stderr or ''}"
        except Exception:
            return "FAIL", traceback.format_exc()
