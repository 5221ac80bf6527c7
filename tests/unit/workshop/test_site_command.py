"""A site's consent from the command line to the device: staged, signed, published, read, taken back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgeapp.errors import ConsentError
from edgeapp.escalation.consent import read_consent
from edgeapp.workshop import cli
from edgeapp.workshop.releases import as_a_device
from tests.fakes.workshop_lab import Desk, Device, new_desk

ALLOW = (
    "site", "allow", "--tenant", "acme", "--purpose", "a second opinion", "--host", "oracle.example.org",
    "--responsible", "Anna Muster, privacy@example.org", "--retention-days", "0", "--days", "30",
)  # fmt: skip


class Terminal:
    """A desk and its command line; every command answers yes."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.desk: Desk = new_desk(folder, self.now)
        self._capsys = capsys

    def run(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        options = ["--repository", str(self.desk.folder / "repository"), "--json", "--yes"]
        if arguments[0] == "release":
            options += ["--keys", str(self.desk.folder / "keys")]
        assert cli.main([*arguments, *options]) == status
        found: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return found

    def publish(self) -> Path:
        self.run("release", "sign")
        self.run("release", "publish", "--to", str(self.desk.folder / "published"))
        return self.desk.folder / "published"


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)


def test_a_consent_reaches_devices_once_it_is_signed_and_can_be_taken_back(terminal: Terminal, tmp_path: Path) -> None:
    device = Device(tmp_path / "device", terminal.desk.repository.first_root)
    (tmp_path / "device").mkdir()
    terminal.run(*ALLOW, "--device", "front-door")
    path = "sites/acme/front-door.json"
    assert not (tmp_path / "repository" / "targets" / path).exists(), "it is not signed yet"
    published = terminal.publish()
    assert path in device.refresh(published, terminal.now).targets
    consent = read_consent((published / "targets" / path).read_bytes(), path)
    assert (consent.devices, consent.expires - consent.begins) == (("front-door",), 30 * 86_400)
    assert [row["path"] for row in terminal.run("site", "list")["consents"]] == [path]
    terminal.run("site", "revoke", "--tenant", "acme", "--device", "front-door")
    assert path not in device.refresh(terminal.publish(), terminal.now).targets
    assert "found none" in terminal.run("site", "revoke", "--tenant", "acme", status=1)["text"]


def test_who_signs_reads_what_is_allowed(terminal: Terminal) -> None:
    from edgeapp.workshop.releases import changes

    terminal.run(*ALLOW)
    (line,) = changes(terminal.desk.repository)
    for part in ("sites/acme.json", "every device of acme", "oracle.example.org", "not kept", "Anna Muster"):
        assert part in line
    terminal.publish()
    terminal.run("site", "revoke", "--tenant", "acme")
    assert changes(terminal.desk.repository) == ["consent sites/acme.json is taken back"]


def test_a_changed_consent_does_not_disturb_the_signed_one_until_it_is_signed(terminal: Terminal) -> None:
    terminal.run(*ALLOW)
    published = terminal.publish()
    before = (published / "targets" / "sites" / "acme.json").read_bytes()
    terminal.run(*[*ALLOW[:-1], "60"])
    as_a_device(terminal.desk.repository.folder, terminal.desk.repository.first_root, terminal.now)
    assert (terminal.desk.folder / "repository" / "targets" / "sites" / "acme.json").read_bytes() == before
    terminal.run("repository", "discard")
    assert terminal.desk.repository.waiting() == []
    assert len(terminal.run("site", "list")["consents"]) == 1


@pytest.mark.parametrize(
    "change", [("--host", "https://oracle"), ("--purpose", ""), ("--days", "0"), ("--retention-days", "-1")]
)
def test_a_consent_that_devices_would_refuse_is_not_staged(terminal: Terminal, change: tuple[str, str]) -> None:
    assert terminal.run(*ALLOW, *change, status=1)["error"] == ConsentError.code
    assert terminal.desk.repository.waiting() == []
