"""Does the checks one after the other, each bounded in time and isolated from the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from edgeapp.doctor.checks import Check
from edgeapp.doctor.report import Finding, Judgement


def examine(checks: Sequence[Check]) -> Iterator[Check | Finding]:
    """For each check: first itself, as it begins, then what it found."""
    for check in checks:
        yield check
        yield _bounded(check)


def _bounded(check: Check) -> Finding:
    """The finding of one check, also where it raises or hangs."""
    done: list[Judgement] = []

    def look() -> None:
        try:
            done.append(check.look())
        except Exception as error:
            text = f"this check itself failed: {type(error).__name__}: {error}"
            done.append(Judgement("fail", text, "report it, with this line"))

    # A thread that hangs in the kernel cannot be ended; as a daemon it does not keep the process either.
    thread = threading.Thread(target=look, name=f"check-{check.name}", daemon=True)
    thread.start()
    thread.join(check.limit_s)
    hung = Judgement("fail", f"no answer within {check.limit_s:g} s", "something hangs:  sudo dmesg | tail")
    judged = done[0] if done else hung
    return Finding(check.name, judged.level, judged.found, judged.do)
