"""What the doctor found, pure: the value, the lines that a person reads, the object that a program reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edgeapp.status import Level, Line, marked, worst, wrapped

_NAME_WIDTH = 13
_INDENT = " " * (len("FAIL  ") + _NAME_WIDTH)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one check comes to: how bad, what was found, and what to do about it; empty where nothing is to be done."""

    level: Level
    found: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A judgement under the name of its check."""

    name: str
    level: Level
    found: str
    do: str = ""


def level(findings: Sequence[Finding]) -> Level:
    """The worst level of all."""
    return worst(tuple(Line(finding.name, finding.level, finding.found) for finding in findings))


def exit_status(findings: Sequence[Finding]) -> int:
    """0 where the device can work, 1 where something fails."""
    return 1 if level(findings) == "fail" else 0


def text(finding: Finding, *, width: int | None, is_coloured: bool = False) -> str:
    """One finding for a terminal of `width` columns, not wrapped where it is None, and below it what to do.

    The latter is never wrapped: a command that is broken over two lines does not run when it is copied.
    """
    mark = marked(finding.level, is_coloured=is_coloured)
    rows = wrapped(mark, finding.name, _NAME_WIDTH, finding.found, width)
    if finding.do:
        first, *more = finding.do.splitlines()
        rows += [f"{_INDENT}→ {first}", *(f"{_INDENT}  {row}" for row in more)]
    return "\n".join(row.rstrip() for row in rows)


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line: what it all comes to."""
    failed, warned = ([one.name for one in findings if one.level == bad] for bad in ("fail", "warn"))
    if not failed and not warned:
        return f"All {len(findings)} checks are ok."
    parts = [f"{len(failed)} failed: {', '.join(failed)}"] if failed else ["Nothing failed"]
    parts += [f"{len(warned)} with a warning: {', '.join(warned)}"] if warned else []
    return f"{'; '.join(parts)}."


def as_object(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as `--json` prints them."""
    return {"level": level(findings), "checks": [asdict(finding) for finding in findings]}
