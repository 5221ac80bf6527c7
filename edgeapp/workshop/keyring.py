"""A folder of signing keys: one file a key, NAME.pem, that only its owner may read.

Owns the files: an Ed25519 private key in PKCS #8 (RFC 5958), encrypted with a passphrase unless told otherwise, and
below it the public key, so that a key can be listed and found without the passphrase. Which key may sign what stands
in the repository (`repository.py`), not here: folders can lie on different machines and sticks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgeapp.errors import KeyringError
from edgeapp.system.files import write_durably

if TYPE_CHECKING:
    from pathlib import Path

_SUFFIX = ".pem"
_NAME = r"[0-9A-Za-z_-][0-9A-Za-z._-]{0,63}"  # what a command may call an operator
_ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PUBLIC = b"-----BEGIN PUBLIC KEY-----"
_MAX_BYTES = 16 * 1024


class Keyring:
    """The keys in a folder that share a passphrase; None where they have none, or are only to be listed."""

    def __init__(self, folder: Path, passphrase: bytes | None = None) -> None:
        self.folder = folder
        self._passphrase = passphrase

    def names(self) -> tuple[str, ...]:
        """The keys that are there."""
        return tuple(sorted(path.stem for path in self.folder.glob(f"*{_SUFFIX}")))

    def is_encrypted(self, name: str) -> bool:
        """Whether a passphrase is needed to sign with it.

        Raises:
            KeyringError: there is no such key.
        """
        return _ENCRYPTED in self._read(name)

    def public(self, name: str) -> str:
        """The public half as 64 hexadecimal digits; needs no passphrase.

        Raises:
            KeyringError: there is no such key, or the file is none of ours.
        """
        return str(self._public_key(name).keyval["public"])

    def signer(self, name: str) -> CryptoSigner:
        """What signs with the key.

        Raises:
            KeyringError: there is no such key, or the passphrase is not its own.
        """
        content, public = self._read(name), self._public_key(name)
        passphrase = self._passphrase if _ENCRYPTED in content else None
        try:
            private = serialization.load_pem_private_key(content, passphrase)
            return CryptoSigner(private, public)
        except TypeError as error:
            raise KeyringError(f"{self._path(name)}: expected a passphrase, found none") from error
        except KeyMismatchError as error:
            raise KeyringError(f"{self._path(name)}: expected the two halves of one key, found {error}") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyringError(f"{self._path(name)}: expected the passphrase of this key, found another") from error

    def create(self, name: str) -> str:
        """Make a key, encrypted with the passphrase if there is one; its public half.

        Raises:
            KeyringError: there is a key of that name, which stays as it is; or the name is none.
            OSError: the folder cannot be written.
        """
        if not re.fullmatch(_NAME, name):
            raise KeyringError(f"expected a name of 1 to 64 letters, digits, ., _ and -, found {name!r:.80}")
        path = self._path(name)
        if path.exists():
            raise KeyringError(f"{path}: expected no key of that name, found one")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = Ed25519PrivateKey.generate()
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self._passphrase is not None:
            encryption = serialization.BestAvailableEncryption(self._passphrase)
        content = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        content += private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_durably(path, content, mode=0o600)
        return self.public(name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_SUFFIX}"

    def _read(self, name: str) -> bytes:
        try:
            with self._path(name).open("rb") as file:
                return file.read(_MAX_BYTES)
        except OSError as error:
            raise KeyringError(f"{self._path(name)}: expected a key, found: {error.strerror}") from error

    def _public_key(self, name: str) -> SSlibKey:
        _, found, rest = self._read(name).partition(_PUBLIC)
        try:
            key = serialization.load_pem_public_key(found + rest)
        except ValueError as error:
            raise KeyringError(f"{self._path(name)}: expected a public key below the private one") from error
        if not isinstance(key, Ed25519PublicKey):
            raise KeyringError(f"{self._path(name)}: expected an Ed25519 key, found {type(key).__name__}")
        return SSlibKey.from_crypto(key)


def public_key(public: str) -> SSlibKey:
    """The key whose public half is `public`, 64 hexadecimal digits, with the key id that TUF gives it.

    Raises:
        KeyringError: it is no such key.
    """
    try:
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError as error:
        raise KeyringError(f"expected an Ed25519 key as 64 hexadecimal digits, found {public!r:.80}") from error
