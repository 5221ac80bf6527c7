"""Signing keys in a folder: who can read them, and who can sign with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeapp.errors import KeyringError
from edgeapp.workshop.keyring import Keyring, public_key


def test_a_key_signs_only_with_its_passphrase_and_is_listed_without(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    public = Keyring(folder, b"open sesame").create("anna")
    assert (folder / "anna.pem").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    listed = Keyring(folder)
    assert (listed.names(), listed.public("anna"), listed.is_encrypted("anna")) == (("anna",), public, True)
    with pytest.raises(KeyringError, match="expected a passphrase, found none"):
        listed.signer("anna")
    with pytest.raises(KeyringError, match="found another"):
        Keyring(folder, b"open barley").signer("anna")
    signature = Keyring(folder, b"open sesame").signer("anna").sign(b"content")
    public_key(public).verify_signature(signature, b"content")


def test_a_key_without_a_passphrase_signs_also_beside_others_that_have_one(tmp_path: Path) -> None:
    public = Keyring(tmp_path).create("bare")
    signature = Keyring(tmp_path, b"of the others").signer("bare").sign(b"content")
    public_key(public).verify_signature(signature, b"content")
    assert not Keyring(tmp_path).is_encrypted("bare")


def test_no_key_is_ever_overwritten(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    public = keyring.create("anna")
    with pytest.raises(KeyringError, match="expected no key of that name"):
        keyring.create("anna")
    assert keyring.public("anna") == public


def test_a_file_whose_halves_are_of_two_keys_is_refused(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    for name in ("anna", "ben"):
        keyring.create(name)
    anna, ben = ((tmp_path / f"{name}.pem").read_bytes().split(b"-----BEGIN PUBLIC") for name in ("anna", "ben"))
    (tmp_path / "anna.pem").write_bytes(anna[0] + b"-----BEGIN PUBLIC" + ben[1])
    with pytest.raises(KeyringError, match="two halves of one key"):
        keyring.signer("anna")


@pytest.mark.parametrize("name", ["../anna", "", "an na", "a" * 65])
def test_a_name_is_a_plain_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyringError, match="expected a name"):
        Keyring(tmp_path / "keys").create(name)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_key_and_nonsense_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "torn.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(KeyringError, match="No such file"):
        Keyring(tmp_path).signer("anna")
    with pytest.raises(KeyringError, match="expected a public key"):
        Keyring(tmp_path).signer("torn")
    with pytest.raises(KeyringError, match="64 hexadecimal digits"):
        public_key("ab")
