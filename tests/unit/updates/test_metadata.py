"""What was accepted is durable, and says what it should."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical

from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.fetchers import CarriedFiles
from edgeapp.updates.metadata import FirstRoot, TrustedMetadata, fetch_code, fetch_target, read_first_root, refresh
from tests.fakes.releases import NOW_S, OPERATORS_PATH, ROLES, Repository, key

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


SIGNERS = {"root": ("root0", "root1"), "targets": ("targets0", "targets1")}
ODD_VALUES = (1.5, 10**400, -1, 0, 1 << 70, None, True, "", "x", [], [[]], {}, {"a": 1.5}, "9999-99-99T00:00:00Z")


@functools.cache
def rotated() -> Repository:
    repository = Repository()
    repository.rotate_root("root0", "root1")
    return repository


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*way, name)
        yield from ways(inner, (*way, name))


@given(data=st.data(), role=st.sampled_from(["root", *ROLES]), is_well_signed=st.booleans())
@settings(max_examples=80)
def test_any_value_in_metadata_is_taken_or_refused_even_where_it_is_well_signed(
    data: st.DataObject, role: str, is_well_signed: bool
) -> None:
    repository = rotated()
    name = repository.file_of(role)
    document = json.loads(repository.files[name])
    *inner, last = data.draw(st.sampled_from(list(ways(document))))
    functools.reduce(lambda part, step: part[step], inner, document)[last] = data.draw(st.sampled_from(ODD_VALUES))
    if is_well_signed and "signed" in document:
        try:
            canonical = encode_canonical(document["signed"]).encode()
        except FormatError:  # what has no canonical form cannot be signed
            canonical = b""
        signatures = [key(signer).sign(canonical) for signer in SIGNERS.get(role, ("online",))]
        document["signatures"] = [{"keyid": each.keyid, "sig": each.signature} for each in signatures]
    files = {**repository.files, name: json.dumps(document).encode()}
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(UpdateError):  # and nothing else
        refresh(Path(folder, "tuf"), repository.first_root, CarriedFiles(files), NOON, Floors())


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, Code.E_SPACE), (errno.EROFS, Code.E_IO)])
def test_full_disk_is_told_from_a_broken_one(number: int, code: Code) -> None:
    assert fetch_code(OSError(number, os.strerror(number))) == code


def test_the_first_root_is_one_that_its_own_keys_signed() -> None:
    root = Repository().first_root
    assert read_first_root(root) == FirstRoot(version=1, keys=3, threshold=2)
    altered = json.loads(root)
    altered["signed"]["version"] = 2
    timestamp = Repository().signed["timestamp.json"]
    for wrong in (b"", b"{}", root[:-20], json.dumps(altered).encode(), timestamp):
        with pytest.raises(UpdateError) as refused:
            read_first_root(wrong)
        assert refused.value.reason.code is Code.E_ROOT
