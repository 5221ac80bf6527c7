"""A secret is read from systemd's copy where there is one, else from where the configuration says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeapp.system import credentials


def test_the_copy_of_systemd_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "edgeapp_mqtt-password"
    copy.write_text("secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert credentials.find("/etc/edgeapp/credentials/mqtt-password") == copy
    assert credentials.find("/etc/edgeapp/credentials/other") == Path("/etc/edgeapp/credentials/other")
    assert credentials.find("/etc/elsewhere/mqtt-password") == Path("/etc/elsewhere/mqtt-password")


def test_without_systemd_the_file_itself_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    path = "/etc/edgeapp/credentials/mqtt-password"
    assert credentials.find(path) == Path(path)
