"""The doctor says whether the site consents to escalation, from where the consent is fetched, and changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from edgeapp.doctor.checks import Machine, all_checks
from edgeapp.doctor.judge_trust import consent as judged
from edgeapp.doctor.report import Judgement
from edgeapp.system import clock
from tests.fakes.escalating_device import OWN, consent
from tests.fakes.releases import Repository


@pytest.fixture(autouse=True)
def right_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock.SystemClock, "is_synchronised", lambda self: True)


def examined(folder: Path, repository: Repository) -> Judgement:
    repository.write(folder / "stick")
    (folder / "1.root.json").write_bytes(repository.first_root)
    config = {
        "device": {"id": "test-device"},
        "paths": {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")},
        "camera": {"kind": "video", "source": "none.avi"},
        "inference": {"model_dir": str(folder / "model")},
        "mqtt": {"host": "127.0.0.1"},
        "updates": {"enabled": True, "root_file": str(folder / "1.root.json"), "folder": str(folder / "stick")},
        "escalation": {"enabled": True, "endpoint": "https://127.0.0.1:8443"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (check,) = (each for each in all_checks(folder / "config.yaml", Machine()) if each.name == "consent")
    return check.look()


def test_a_consent_in_force_is_told_with_its_terms(tmp_path: Path) -> None:
    repository = Repository(now=datetime.now(UTC).replace(microsecond=0))
    repository.add(OWN, consent(), None)
    found = examined(tmp_path, repository)
    assert (found.level, "answers for it: Anna Muster" in found.found) == ("ok", True)
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("changes", "why"), [(None, "among the signed targets"), ({"expires": 1}, "begins"),
                                              ({"endpoint_host": "other"}, "for other")])  # fmt: skip
def test_without_one_it_says_why_and_what_to_do(tmp_path: Path, changes: dict[str, object] | None, why: str) -> None:
    repository = Repository(now=datetime.now(UTC).replace(microsecond=0))
    if changes is not None:
        repository.add(OWN, consent(**changes), None)
    found = examined(tmp_path, repository)
    assert found.level == "warn"
    assert why in found.found
    assert "site allow" in found.do


def test_one_that_cannot_be_fetched_is_no_consent() -> None:
    assert judged("", "").level == "warn"
