"""A short run of what `scripts/message-torture` does for minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.message_torture import lose_on_purpose, torture


@pytest.mark.parametrize("is_persistent", [False, True], ids=["forgetful broker", "persistent broker"])
def test_no_report_is_lost_whatever_is_killed(tmp_path: Path, is_persistent: bool) -> None:
    toll = torture(tmp_path, seed=5, kills=4, pause_s=0.2, is_persistent=is_persistent)
    assert sum(toll.kills.values()) == 4
    assert toll.sent > 50
    assert (toll.lost, toll.gaps_reported) == (0, 0), toll


def test_every_report_that_gets_lost_is_named(tmp_path: Path) -> None:
    found = lose_on_purpose(tmp_path)
    assert found.planted > 40
    assert (found.reported, found.false) == (found.planted, 0)
