from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgeapp.errors import CommandError
from edgeapp.updates.command import Audience, Command, ReleaseRef, read_message
from edgeapp.workshop.commands import (
    Draft,
    add_signature,
    carried_files,
    check_operators,
    opened,
    pack,
    read_draft,
    seal,
    take_numbers,
    write_draft,
)
from edgeapp.workshop.keyring import Keyring
from tests.fakes.fleet import GOOD, Desk

_COMMAND = Command(v=1, id="c-1", seq=1, iat=1000, exp=2000, aud=Audience(all=True), op="cancel")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, 1, operators=("anna", "ben"), threshold=2)


def _install(desk: Desk, sha256: str = "") -> Command:
    release = ReleaseRef(path=f"releases/person/{GOOD}.json", sha256=sha256 or desk.sha256(GOOD))
    return dataclasses.replace(_COMMAND, op="install", release=release)


def test_numbers_rise_and_are_never_given_twice(tmp_path: Path) -> None:
    assert list(take_numbers(tmp_path, 1, 1, 0)) == [1]
    assert list(take_numbers(tmp_path, 3, None, 0)) == [2, 3, 4]
    assert list(take_numbers(tmp_path, 1, 2, 0)) == [5]  # a floor below what was used lowers nothing
    assert list(take_numbers(tmp_path, 1, 10, 0)) == [10]
    assert list(take_numbers(tmp_path, 1, None, 41)) == [42]  # a device spoke of 41, which another desk had sent


def test_without_its_numbers_the_tool_goes_on_only_when_told_a_floor(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="--seq 1"):
        take_numbers(tmp_path, 1, None, 17)
    assert list(take_numbers(tmp_path, 1, 5, 17)) == [18]


def test_torn_numbers_are_no_numbers(tmp_path: Path) -> None:
    (tmp_path / "sequence.json").write_text('{"v": 1, "ne')
    with pytest.raises(CommandError, match=r"sequence\.json"):
        take_numbers(tmp_path, 1, 5, 0)


def test_a_command_of_two_operators_comes_back_as_it_was_and_short(desk: Desk) -> None:
    keyring, command = Keyring(desk.folder / "keys"), _install(desk)
    document = seal(command, [keyring.signer("anna"), keyring.signer("ben")])
    files = carried_files(desk.folder / "repository", command)
    content = pack(document, files)
    signed, carried = read_message(content)
    assert signed.command == command
    assert set(carried) == set(files)
    assert len(content) <= 3072  # of the 4 KB that are promised, for a longer list of releases
    check_operators(document, files)


def test_a_command_with_too_few_operators_does_not_leave(desk: Desk) -> None:
    keyring = Keyring(desk.folder / "keys")
    document = seal(_install(desk), [keyring.signer("anna"), keyring.signer("anna")])
    files = carried_files(desk.folder / "repository", _install(desk))
    with pytest.raises(CommandError, match="E_THRESHOLD"):
        check_operators(document, files)
    check_operators(add_signature(document, keyring.signer("ben")), files)


def test_a_release_that_is_not_the_published_one_does_not_leave(desk: Desk) -> None:
    with pytest.raises(CommandError, match="expected sha256"):
        carried_files(desk.folder / "repository", _install(desk, "0" * 64))


def test_a_manifest_that_was_altered_on_disk_does_not_leave(desk: Desk) -> None:
    path = desk.folder / "repository" / "targets" / "releases" / "person" / f"{GOOD}.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(CommandError, match="expected sha256"):
        carried_files(desk.folder / "repository", _install(desk))


def test_a_folder_without_a_repository_carries_nothing(tmp_path: Path) -> None:
    assert carried_files(tmp_path / "nothing", _COMMAND) == {}


def test_what_a_device_would_not_read_is_not_packed() -> None:
    with pytest.raises(CommandError, match="E_PARSE"):
        opened(seal(dataclasses.replace(_COMMAND, id="a b"), ()))
    with pytest.raises(CommandError, match="E_TOO_BIG"):
        pack(seal(_COMMAND, ()), {"timestamp.json": "x" * 70_000})


def test_a_draft_is_written_and_read(tmp_path: Path) -> None:
    draft = Draft(commands={"command": seal(_COMMAND, ())}, topics=("a/b",))
    write_draft(tmp_path / "draft.json", draft)
    assert read_draft(tmp_path / "draft.json") == draft
    (tmp_path / "draft.json").write_text(json.dumps({"v": 1, "commands": {}, "what": 1}))
    with pytest.raises(CommandError, match="what: unknown key"):
        read_draft(tmp_path / "draft.json")
