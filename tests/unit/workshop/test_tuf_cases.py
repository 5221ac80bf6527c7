"""What the specification asks of a TUF client, of ours through its command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.tuf_cases import CASES, check


@pytest.mark.parametrize("name", CASES)
def test_the_client_does_as_the_specification_says(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)
