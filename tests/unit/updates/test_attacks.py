"""Every attack on the trust of a device, and what it meets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.attack_list import ATTACKS, FAULTS
from tests.fakes.attacks import Case


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in ATTACKS + FAULTS])
def test_attack_meets_its_code(case: Case, tmp_path: Path) -> None:
    got = case.got(tmp_path, is_thorough=False)
    print(f"{case.name} → {got}")
    assert got == case.expected


def test_each_row_has_its_own_name() -> None:
    names = [case.name for case in ATTACKS + FAULTS]
    assert len(set(names)) == len(names)
