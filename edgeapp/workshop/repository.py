"""The releases on their signers' side: a TUF repository in a folder, and what is staged there to be signed next.

    metadata/   signed and finished: 1.root.json …, N.targets.json, N.snapshot.json, timestamp.json
    targets/    keys/operators.json, releases/NAME/VERSION.json, blobs/SHA256, sites/TENANT.json
    staged/     the next root.json and targets.json with the signatures so far, and the next operators and consents

Owns this folder and the rules of signing: what is staged becomes finished with the signature that fills the threshold,
and not before, so signers may sit at different machines between which the folder is carried. No key is kept here.
Every expiry and version is set here and nowhere else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from securesystemslib.exceptions import StorageError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgeapp.errors import KeyringError, ReleaseError
from edgeapp.system.files import write_durably
from edgeapp.updates.command import OPERATORS_PATH, Operators, read_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.signer import Key

    from edgeapp.workshop.keyring import Keyring

LIFETIMES = {
    Root.type: timedelta(days=365),
    Targets.type: timedelta(days=180),
    Snapshot.type: timedelta(days=30),
    Timestamp.type: timedelta(days=14),
}
SIGNED_BY_PEOPLE = (Root.type, Targets.type)
ONLINE = (Snapshot.type, Timestamp.type)
KEY_NAME = "x-edgeapp-name"  # a field of ours beside TUF's own, which clients keep and ignore
_COMPACT = JSONSerializer(compact=True)


@dataclass(frozen=True, slots=True)
class Staged:
    """What waits for signatures: who signed, who else may, and how many are still wanted."""

    role: str
    version: int
    signed: tuple[str, ...]
    others: tuple[str, ...]
    missing: int


class Repository:
    """The repository in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metadata_dir, self.targets_dir, self.staged_dir = (
            folder / name for name in ("metadata", "targets", "staged")
        )

    # Reading

    @property
    def first_root(self) -> bytes:
        """The root that devices are provisioned with.

        Raises:
            OSError: there is none.
        """
        return (self.metadata_dir / "1.root.json").read_bytes()

    def roots(self) -> list[Root]:
        """Every version of the root, the first one first, each signed as the one before demands.

        Raises:
            ReleaseError: there is none, one is missing or unreadable, or one is not signed by enough keys.
        """
        chain: list[Root] = []
        for version in range(1, self._newest_version(Root.type) + 1):
            path = self.metadata_dir / f"{version}.root.json"
            metadata = read_metadata(path)
            previous = chain[-1] if chain else None
            root: Root = metadata.signed
            if not root.get_root_verification_result(previous, metadata.signed_bytes, metadata.signatures):
                raise ReleaseError(f"{path}: expected a root signed by those before it, found too few signatures")
            chain.append(root)
        if not chain:
            raise ReleaseError(f"{self.folder}: expected a repository, found none: edgeapp-workshop keys init")
        return chain

    def newest(self, role: str) -> Metadata[Any] | None:
        """The finished metadata of a role; None where there is none yet.

        Raises:
            ReleaseError: it cannot be read; or they are targets, which the next signers build on, that no root allows.
        """
        version = self._newest_version(role)
        if not version:
            return None
        metadata = read_metadata(self._path(role, version))
        if role == Targets.type and not any(_is_signed(root, metadata) for root in self.roots()):
            raise ReleaseError(
                f"{self._path(role, version)}: expected enough signatures, found too few: it was altered"
            )
        return metadata

    def staged(self, role: str) -> Metadata[Any] | None:
        """The next metadata of a role, not yet signed by enough; None where nothing is staged."""
        path = self.staged_dir / f"{role}.json"
        return read_metadata(path) if path.exists() else None

    def root(self) -> Root:
        """The root as it is to be: the staged one, or the newest."""
        staged = self.staged(Root.type)
        return staged.signed if staged else self.roots()[-1]

    def targets(self) -> Targets:
        """The targets as they are to be: the staged ones, or the newest."""
        metadata = self.staged(Targets.type) or self.newest(Targets.type)
        return metadata.signed if metadata else Targets()

    def operators(self) -> Operators:
        """The operators as they are to be.

        Raises:
            ReleaseError, UpdateError: there is no list, or it is malformed.
        """
        return read_document(Operators, self.target_path(OPERATORS_PATH).read_bytes(), OPERATORS_PATH)

    def target_path(self, path: str) -> Path:
        """Where the file of a target lies, the staged one first."""
        staged = self._staged_targets_dir / path
        return staged if staged.exists() else self.targets_dir / path

    # Staging

    def start(self, root: Metadata[Root]) -> None:
        """Begin with a root that is signed already."""
        self._write(root)

    def stage_root(self, root: Root, now: datetime) -> None:
        """Stage `root`, changed from `self.root()`, as the next version; earlier signatures of it are dropped.

        Where it names other keys for the targets, these have to sign the targets anew, so they are staged too.
        """
        finished = self.roots()[-1]
        self._stage(root, finished.version + 1, now)
        if root.roles[Targets.type] != finished.roles[Targets.type]:
            self.stage_targets(self.targets(), now)

    def stage_targets(self, targets: Targets, now: datetime) -> None:
        """Stage `targets`, changed from `self.targets()`, as the next version; earlier signatures are dropped."""
        self._stage(targets, self._newest_version(Targets.type) + 1, now)

    def stage_operators(self, operators: Operators, now: datetime) -> None:
        """Stage another list of operators."""
        self.stage_document(
            OPERATORS_PATH, json.dumps(dataclasses.asdict(operators), separators=(",", ":")).encode(), now
        )

    def stage_document(self, name: str, content: bytes, now: datetime) -> None:
        """Stage a small target that may replace one of the same name; it takes its place when it is signed."""
        path = self._staged_targets_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, content)
        targets = self.targets()
        targets.targets[name] = TargetFile.from_data(name, content, ["sha256"])
        self.stage_targets(targets, now)

    def discard(self) -> None:
        """Forget what is staged."""
        for path in (*self.staged_dir.glob("*.json"), *self._staged_documents().values()):
            path.unlink()

    # Signing

    def sign(self, keyring: Keyring, names: Sequence[str] = ()) -> list[str]:
        """Sign what is staged with these keys, or with as many of those at hand as it takes; their names.

        What has enough signatures afterwards is finished.

        Raises:
            KeyringError: a key of `names` may sign nothing of it, or one cannot be used.
            ReleaseError: nothing is staged.
        """
        wanted = names or keyring.names()
        used = []
        staged = [(role, metadata) for role in SIGNED_BY_PEOPLE if (metadata := self.staged(role))]
        if not staged:
            raise ReleaseError(f"{self.folder}: expected something staged to sign, found nothing")
        for role, metadata in staged:
            publics = {public_of(key) for key in self._signers_of(role)}
            for name in wanted:
                is_wanted = name in names or self._missing(role, metadata) > 0
                if is_wanted and keyring.public(name) in publics:
                    metadata.sign(keyring.signer(name), append=True)
                    used.append(name)
        strangers = sorted(set(names) - set(used))
        if strangers:
            raise KeyringError(f"expected keys that may sign what is staged, found {', '.join(strangers)}")
        for role, metadata in staged:
            write_durably(self.staged_dir / f"{role}.json", metadata.to_bytes(_COMPACT))
        self._finish()
        return sorted(set(used))

    def waiting(self) -> list[Staged]:
        """What is staged and not yet signed by enough."""
        found = []
        for role in SIGNED_BY_PEOPLE:
            metadata = self.staged(role)
            if metadata is not None:
                signers = {key.keyid: name_of(key) for key in self._signers_of(role)}
                signed = [keyid for keyid in signers if keyid in metadata.signatures]
                found.append(
                    Staged(
                        role,
                        metadata.signed.version,
                        tuple(signers[keyid] for keyid in signed),
                        tuple(name for keyid, name in signers.items() if keyid not in signed),
                        self._missing(role, metadata),
                    )
                )
        return found

    def refresh(self, keyring: Keyring, now: datetime) -> None:
        """Sign a new snapshot of the newest finished targets, and a new timestamp: for at least every other week.

        Raises:
            KeyringError: the keys for it are not at hand, or cannot be used.
        """
        root, targets = self.roots()[-1], self.newest(Targets.type)
        if targets is None:
            raise ReleaseError(f"{self.folder}: expected signed targets, found none")
        listed = {"targets.json": MetaFile(targets.signed.version)}
        snapshot = Snapshot(self._newest_version(Snapshot.type) + 1, meta=listed)
        timestamp = Timestamp(self._newest_version(Timestamp.type) + 1, snapshot_meta=MetaFile(snapshot.version))
        signed = [self._signed_online(part, root, keyring, now) for part in (snapshot, timestamp)]
        for metadata in signed:
            self._write(metadata)

    def is_refreshed(self) -> bool:
        """Whether the current snapshot is of the newest targets, and signed by the keys of the newest root."""
        root, targets = self.roots()[-1], self.newest(Targets.type)
        online = [self.newest(role) for role in ONLINE]
        return (
            all(part is not None and _is_signed(root, part) for part in online)
            and targets is not None
            and online[0].signed.meta["targets.json"].version == targets.signed.version  # type: ignore[union-attr]
        )

    # Within

    def _stage(self, signed: Root | Targets, version: int, now: datetime) -> None:
        signed.version, signed.expires = version, expiry(signed.type, now)
        self.staged_dir.mkdir(exist_ok=True)
        metadata: Metadata[Any] = Metadata(signed)
        write_durably(self.staged_dir / f"{signed.type}.json", metadata.to_bytes(_COMPACT))

    @property
    def _staged_targets_dir(self) -> Path:
        return self.staged_dir / "targets"

    def _staged_documents(self) -> dict[str, Path]:
        """The staged files that are to take their places with the targets, by target path."""
        found = (path for path in self._staged_targets_dir.rglob("*") if path.is_file())
        return {path.relative_to(self._staged_targets_dir).as_posix(): path for path in found}

    def _signers_of(self, role: str) -> list[Key]:
        """Whose signatures count for what is staged of a role: for a root also those who signed the one before."""
        roots = [self.root(), self.roots()[-1]] if role == Root.type else [self.root()]
        keys = {keyid: root.keys[keyid] for root in roots for keyid in root.roles[role].keyids}
        return sorted(keys.values(), key=name_of)

    def _missing(self, role: str, metadata: Metadata[Any]) -> int:
        if role == Root.type:
            both = metadata.signed.get_root_verification_result(
                self.roots()[-1], metadata.signed_bytes, metadata.signatures
            )
            return int(max(both.first.missing, both.second.missing))
        found = self.root().get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        return int(found.missing)

    def _finish(self) -> None:
        """Move to its place what has its signatures: the root first, as it says who may sign the rest."""
        for role in SIGNED_BY_PEOPLE:
            metadata = self.staged(role)
            if metadata is None:
                continue
            if self._missing(role, metadata):
                return
            documents = self._staged_documents() if role == Targets.type else {}
            for name, path in documents.items():
                (self.targets_dir / name).parent.mkdir(parents=True, exist_ok=True)
                write_durably(self.targets_dir / name, path.read_bytes())
            self._write(metadata)
            (self.staged_dir / f"{role}.json").unlink()
            for path in documents.values():
                path.unlink()

    def _signed_online(self, part: Snapshot | Timestamp, root: Root, keyring: Keyring, now: datetime) -> Metadata[Any]:
        part.expires = expiry(part.type, now)
        metadata: Metadata[Any] = Metadata(part)
        publics = {public_of(root.keys[keyid]) for keyid in root.roles[part.type].keyids}
        for name in keyring.names():
            if keyring.public(name) in publics:
                metadata.sign(keyring.signer(name), append=True)
        if not _is_signed(root, metadata):
            holders = ", ".join(name_of(root.keys[keyid]) for keyid in root.roles[part.type].keyids)
            raise KeyringError(f"{keyring.folder}: expected the key of {part.type} ({holders}), found it missing")
        return metadata

    def _write(self, metadata: Metadata[Any]) -> None:
        self.metadata_dir.mkdir(parents=True, exist_ok=True)
        write_durably(self._path(metadata.signed.type, metadata.signed.version), metadata.to_bytes(_COMPACT))

    def _path(self, role: str, version: int) -> Path:
        return self.metadata_dir / ("timestamp.json" if role == Timestamp.type else f"{version}.{role}.json")

    def _newest_version(self, role: str) -> int:
        if role == Timestamp.type:
            path = self.metadata_dir / "timestamp.json"
            return int(read_metadata(path).signed.version) if path.exists() else 0
        names = [re.fullmatch(rf"([0-9]+)\.{role}\.json", path.name) for path in self.metadata_dir.glob("*.json")]
        return max((int(name[1]) for name in names if name), default=0)


def expiry(role: str, now: datetime) -> datetime:
    """When metadata of a role that is made now expires."""
    return now.replace(microsecond=0) + LIFETIMES[role]


def name_of(key: Key) -> str:
    """What people call a key; its id where it came without a name."""
    return str(key.unrecognized_fields.get(KEY_NAME, key.keyid[:12]))


def public_of(key: Key) -> str:
    """A key's public half, hexadecimal."""
    return str(key.keyval["public"])


def fingerprint(content: bytes) -> str:
    """The beginning of the SHA-256 of a first root: people compare it to know that it is theirs."""
    return hashlib.sha256(content).hexdigest()[:16]


def blob_path(sha256: str) -> str:
    """The target path of a release's file."""
    return f"blobs/{sha256}"


def _is_signed(root: Root, metadata: Metadata[Any]) -> bool:
    signed = metadata.signed
    return bool(root.get_verification_result(signed.type, metadata.signed_bytes, metadata.signatures))


def read_metadata(path: Path) -> Metadata[Any]:
    """The metadata in a file; nothing is verified.

    Raises:
        ReleaseError: it is missing or no metadata.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_file(str(path))
    except (StorageError, DeserializationError) as error:
        raise ReleaseError(f"{path}: expected TUF metadata, found: {error}") from error
    return metadata
