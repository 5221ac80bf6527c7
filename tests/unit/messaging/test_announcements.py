from __future__ import annotations

from pathlib import Path

import pytest

from edgeapp.messaging.announcements import Announcements


def test_without_a_wish_nothing_is_published_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    assert Announcements(path, {}).due() == []
    assert not path.exists()


def test_what_is_wanted_is_due_at_every_connection(tmp_path: Path) -> None:
    announcements = Announcements(tmp_path / "announced", {"ha/config": b"{}"})
    for _ in range(2):
        assert announcements.due() == [("ha/config", b"{}")]
        announcements.note_acknowledged("ha/config")


def test_what_is_no_longer_wanted_is_taken_away_until_the_broker_has_acknowledged_it(tmp_path: Path) -> None:
    path = tmp_path / "announced"
    Announcements(path, {"old/config": b"{}"}).due()
    later = Announcements(path, {"new/config": b"{}"})
    for _ in range(2):
        assert later.due() == [("old/config", b""), ("new/config", b"{}")]
    later.note_acknowledged("old/config")
    assert later.due() == [("new/config", b"{}")]
    last = Announcements(path, {})
    assert last.due() == [("new/config", b"")]
    last.note_acknowledged("new/config")
    assert last.due() == []
    assert not path.exists()


def test_what_cannot_be_remembered_is_not_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Announcements(tmp_path / "no" / "folder", {"ha/config": b"{}"}).due() == []
    assert "nothing is announced" in caplog.text
