"""What people read about a code is what the program says."""

from __future__ import annotations

import re
from pathlib import Path

from edgeapp.updates.codes import Code

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"


def test_operations_lists_every_code_of_updates_once_with_its_text() -> None:
    rows = re.findall(r"^\| `(E_\w+)` \| (.+?) \| (.+?) \|$", OPERATIONS.read_text(), re.MULTILINE)
    names = [name for name, _, _ in rows]
    assert len(names) == len(set(names))
    listed = {name: (meaning, advice) for name, meaning, advice in rows}
    assert {code.name: listed.get(code.name) for code in Code} == {
        code.name: (code.meaning, code.advice) for code in Code
    }


def test_operations_tells_the_codes_by_their_groups() -> None:
    text = OPERATIONS.read_text()
    section = text[text.index("## Codes of updates") :]
    groups = re.split(r"^\*\*(.+)\*\*$", section[: section.index("\n## ", 4)], flags=re.MULTILINE)[1:]
    found = {
        group: re.findall(r"^\| `(E_\w+)`", table, re.MULTILINE)
        for group, table in zip(groups[::2], groups[1::2], strict=True)
    }
    expected: dict[str, list[str]] = {}
    for code in Code:
        expected.setdefault(code.group, []).append(code.name)
    assert found == expected
