"""What was accepted is durable, and says what it should."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.fetchers import CarriedFiles
from edgeapp.updates.metadata import TrustedMetadata, fetch_code, fetch_target, refresh
from tests.fakes.releases import NOW_S, OPERATORS_PATH, Repository

NOON = ClockReading(NOW_S, is_synchronised=True)


def brought(folder: Path, repository: Repository) -> TrustedMetadata:
    return refresh(folder, repository.first_root, CarriedFiles(repository.files), NOON, Floors())


def test_every_file_and_folder_of_the_metadata_is_synced_after_a_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[str, int] = {}
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[str(path.relative_to(tmp_path))] = path.stat().st_mtime_ns
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    brought(tmp_path, Repository())
    there = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if not path.is_symlink()}
    assert set(synced) == {".", *there}
    assert all(path.stat().st_mtime_ns == synced[name] for name, path in there.items())


def test_metadata_tells_versions_and_targets(tmp_path: Path) -> None:
    repository = Repository()
    trusted = brought(tmp_path, repository)
    versions = trusted.versions
    assert (versions.root, versions.timestamp, versions.snapshot, versions.targets) == (1, 3, 3, 3)
    assert trusted.targets["releases/person/7.json"].custom == {"version": 7}
    assert trusted.targets[OPERATORS_PATH].size_bytes == len(repository.contents[OPERATORS_PATH])


def test_online_keys_tell_whether_versions_can_be_compared(tmp_path: Path) -> None:
    repository = Repository()
    before = brought(tmp_path, repository).versions
    repository.rotate_root("root0", "root1")
    same = brought(tmp_path, repository).versions
    repository.root.signed.roles["timestamp"].threshold = 2
    repository.rotate_root("root0", "root1")
    with pytest.raises(UpdateError, match="timestamp was signed by 1/2 keys"):
        brought(tmp_path, repository)
    assert (before.root, same.root) == (1, 2)
    assert before.online_keys == same.online_keys


def test_target_too_large_to_be_a_small_one_is_not_fetched(tmp_path: Path) -> None:
    repository = Repository()
    trusted = brought(tmp_path, repository)
    with pytest.raises(UpdateError) as caught:
        fetch_target(CarriedFiles(repository.files), trusted, OPERATORS_PATH, max_bytes=10)
    assert caught.value.code == "E_TOO_BIG"


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, Code.E_SPACE), (errno.EROFS, Code.E_IO)])
def test_full_disk_is_told_from_a_broken_one(number: int, code: Code) -> None:
    assert fetch_code(OSError(number, os.strerror(number))) == code
