"""Makes an operator's commands: numbered, signed, checked against the list of operators, packed with metadata.

Owns the bytes of a message and the sequence numbers. Publishing is left to the callers. Guarantees: a number is on disk
as used before anything bears it, so none is used twice; no message leaves that a device would refuse for its
signatures, where the repository is at hand to know.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from securesystemslib.dsse import Envelope
from tuf.api.metadata import Snapshot, Targets

from edgeapp.document import JSON_MAX_BYTES
from edgeapp.errors import CommandError
from edgeapp.escalation.consent import SITES
from edgeapp.system.files import hold_lock, write_durably
from edgeapp.updates.broker_files import FilesDocument, read_files
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.command import (
    OPERATORS_PATH,
    PAYLOAD_TYPE,
    Command,
    DsseDocument,
    MessageDocument,
    Operators,
    Signature,
    SignedCommand,
    check_signatures,
    read_document,
    read_message,
)
from edgeapp.workshop.repository import Repository

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from securesystemslib.signer import Signer


_HIGHEST = 1 << 53


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """Signed commands on their way to be signed further or sent. `topics` are those of a single command.

    `plan` is a rollout's plan as JSON; then the commands bear the names of its orders.
    """

    v: Literal[1] = 1
    commands: dict[str, DsseDocument]
    topics: tuple[str, ...] = ()
    plan: str = ""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The file sequence.json: the next number that is free."""

    v: Literal[1]
    next: int


def take_numbers(state: Path, count: int, floor: int | None, heard: int) -> range:
    """So many sequence numbers that nobody used, marked as used on disk.

    Args:
        floor: what the operator says: no number below it is taken.
        heard: the highest that a device has spoken of.

    Raises:
        CommandError: the state folder has no numbers and the operator gave none, or they cannot be read.
        AlreadyRunningError: another command takes numbers at this moment.
    """
    path = state / "sequence.json"
    lock = hold_lock(state / "sequence.lock")
    try:
        if path.exists():
            start = read_document(_Sequence, path.read_bytes(), str(path)).next
        elif floor is None:
            raise CommandError(
                f"{path}: expected the last sequence number, found nothing. The first command of a fleet: --seq 1. "
                f"If this folder was lost: --seq with more than any command had (devices have told of {heard})"
            )
        else:
            start = 1
        first = max(start, floor or 1, heard + 1)
        if first + count >= _HIGHEST:
            raise CommandError(f"sequence number: expected less than 2^53, found {first}")
        write_durably(path, json.dumps({"v": 1, "next": first + count}).encode())
    except UpdateError as error:
        raise CommandError(str(error)) from error
    finally:
        os.close(lock)
    return range(first, first + count)


def seal(command: Command, signers: Sequence[Signer]) -> DsseDocument:
    """The command in an envelope, signed by each."""
    document = DsseDocument(
        payload=base64.b64encode(_encode(plain(command))).decode(),
        payloadType="application/vnd.edgeapp.command+json",
        signatures=(),
    )
    for signer in signers:
        document = add_signature(document, signer)
    return document


def add_signature(document: DsseDocument, signer: Signer) -> DsseDocument:
    """The envelope with one more signature; one of the same key is replaced."""
    envelope = Envelope(base64.b64decode(document.payload), PAYLOAD_TYPE, {})
    made = envelope.sign(signer)
    new = Signature(keyid=made.keyid, sig=base64.b64encode(bytes.fromhex(made.signature)).decode())
    kept = tuple(each for each in document.signatures if each.keyid != new.keyid)
    return dataclasses.replace(document, signatures=(*kept, new))


def pack(document: DsseDocument, files: Mapping[str, str]) -> bytes:
    """The message, in the form that devices take, packed: hashes and names that come again and again cost little.

    Raises:
        CommandError: it is longer than 64 KiB, or otherwise not what a device reads.
    """
    content = zlib.compress(_encode(plain(MessageDocument(v=1, command=document, files=dict(files)))), 9)
    try:
        read_message(content)
    except UpdateError as error:
        raise CommandError(f"{error.code}: {error}") from error
    return content


def opened(document: DsseDocument) -> SignedCommand:
    """The command in an envelope. Raises CommandError where a device could not read it."""
    return _opened(pack(document, {}))


def _opened(content: bytes) -> SignedCommand:
    return read_message(content)[0]


def carried_files(folder: Path, command: Command) -> dict[str, str]:
    """The current metadata, every root after the first, the operators and the manifest: what rides along.

    Empty where the folder has no repository.

    Raises:
        CommandError: the repository lacks one of them, or the manifest is not the one that the command names.
        ReleaseError: its metadata cannot be read.
    """
    repository = Repository(folder)
    files = current_metadata(repository)
    if not files:
        return {}
    files[OPERATORS_PATH] = _target(repository, OPERATORS_PATH)
    if command.release is not None:
        path, found = command.release.path, target_sha256(repository, command.release.path)
        if found != command.release.sha256:
            raise CommandError(f"{folder}: {path}: expected sha256 {command.release.sha256}, found {found}")
        files[path] = _target(repository, path)
    return files


def current_metadata(repository: Repository) -> dict[str, str]:
    """The current metadata and every root after the first, by file name; empty where there is none.

    Raises:
        CommandError: its files do not belong together, or one is missing.
    """
    snapshot, targets = repository.newest(Snapshot.type), repository.newest(Targets.type)
    if snapshot is None or targets is None:
        return {}
    if not repository.is_refreshed():
        raise CommandError(
            f"{repository.folder}: expected metadata that belongs together: edgeapp-workshop repository refresh"
        )
    roots = [f"{version}.root.json" for version in range(2, len(repository.roots()) + 1)]
    current = ("timestamp.json", f"{snapshot.signed.version}.snapshot.json", f"{targets.signed.version}.targets.json")
    return {name: _text(repository.metadata_dir / name) for name in (*current, *roots)}


def pack_consents(repository: Repository, tenant: str) -> tuple[bytes, int]:
    """The retained message with a tenant's consents and the metadata that vouches for them, and how many there are.

    Raises:
        CommandError: it is longer than a device reads, or the repository is in disorder.
    """
    own = (f"{SITES}{tenant}.json", f"{SITES}{tenant}/")
    paths = [path for path in sorted(repository.targets().targets) if path == own[0] or path.startswith(own[1])]
    files = current_metadata(repository) | {path: _target(repository, path) for path in paths}
    content = zlib.compress(_encode(plain(FilesDocument(v=1, files=files))), 9)
    try:
        read_files(content)
    except UpdateError as error:
        advice = "consents for the whole tenant take less room than one for each device"
        raise CommandError(f"{len(paths)} consents of {tenant}: {error.code}: {error}; {advice}") from error
    return content, len(paths)


def target_sha256(repository: Repository, path: str) -> str:
    """The hash of a small target, as the current metadata lists it.

    Raises:
        CommandError: it does not.
    """
    metadata = repository.newest(Targets.type)
    listed = {} if metadata is None else metadata.signed.targets
    if path not in listed:
        known = ", ".join(name for name in sorted(listed) if name.startswith("releases/")) or "no releases"
        raise CommandError(f"{repository.folder}: expected {path}, found {known}")
    return str(listed[path].hashes["sha256"])


def check_operators(document: DsseDocument, files: Mapping[str, str]) -> None:
    """Hold the signatures against the list of operators that rides along.

    Raises:
        CommandError: devices would refuse them.
    """
    try:
        operators = read_document(Operators, files[OPERATORS_PATH].encode(), OPERATORS_PATH)
    except UpdateError as error:
        raise CommandError(str(error)) from error
    refusal = check_signatures(opened(document), operators)
    if refusal is not None:
        raise CommandError(
            f"{refusal.code.name}: {refusal.text}. "
            "Another operator signs with: edgeapp-workshop command sign FILE --key NAME"
        )


def checked_files(repository: Path, document: DsseDocument) -> dict[str, str]:
    """What rides along with a command, its signatures held against it.

    Raises:
        CommandError, ReleaseError: devices would refuse the signatures, or the repository is in disorder.
    """
    files = carried_files(repository, opened(document).command)
    if files:
        check_operators(document, files)
    return files


def write_draft(path: Path, draft: Draft) -> None:
    """Write a draft for others to sign.

    Raises:
        CommandError: it is too long to be read again, or cannot be written.
    """
    content = json.dumps(plain(draft), indent=1).encode()
    if len(content) > JSON_MAX_BYTES:
        raise CommandError(f"{path}: expected at most {JSON_MAX_BYTES} bytes, found {len(content)}: name fewer devices")
    try:
        write_durably(path, content)
    except OSError as error:
        raise CommandError(f"{path}: expected to be writable, found: {error.strerror}") from error


def read_draft(path: Path) -> Draft:
    """A draft from its file.

    Raises:
        CommandError: it cannot be read, or is no draft.
    """
    try:
        draft = read_document(Draft, path.read_bytes(), str(path))
    except OSError as error:
        raise CommandError(f"{path}: expected a draft, found: {error.strerror}") from error
    except UpdateError as error:
        raise CommandError(str(error)) from error
    for document in draft.commands.values():
        opened(document)
    return draft


def plain(value: DataclassInstance) -> dict[str, Any]:
    """A dataclass as what JSON holds. Fields that have their default value are left out."""
    return {
        each.name: _plain(getattr(value, each.name))
        for each in dataclasses.fields(value)
        if getattr(value, each.name) != _default(each)
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _default(each: dataclasses.Field[Any]) -> object:
    if each.name == "v":
        return dataclasses.MISSING  # always told
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return each.default


def _encode(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), allow_nan=False).encode()


def _target(repository: Repository, path: str) -> str:
    text = _text(repository.targets_dir / path)
    expected, found = target_sha256(repository, path), hashlib.sha256(text.encode()).hexdigest()
    if found != expected:
        raise CommandError(f"{repository.targets_dir / path}: expected sha256 {expected}, found {found}")
    return text


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeError) as error:
        raise CommandError(f"{path}: expected a file of the repository, found: {error}") from error
