"""TUF metadata on the device: which releases are genuine (https://theupdateframework.github.io/specification/latest/).

Owns the folder with the metadata that was seen. The workflow is python-tuf's; added are what it leaves out: metadata
that was accepted stays accepted after a power cut, versions may not fall even where that folder was wiped, nothing is
refreshed by a clock that cannot be right, and every failure has one of our codes. Fetching is `fetchers.py`'s.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from edgeapp.system.files import sync_folder
from edgeapp.updates.codes import Code, UpdateError, hold
from edgeapp.updates.facts import ClockReading, Floors, MetadataFloor, check_clock
from edgeapp.updates.fetchers import METADATA_URL, TARGETS_URL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# At level info it tells of each key that has not signed; with two of three that is one each time.
logging.getLogger("tuf.api").setLevel(logging.WARNING)
LIMITS = UpdaterConfig(
    max_root_rotations=64,
    root_max_length=64 * 1024,
    timestamp_max_length=16 * 1024,
    snapshot_max_length=64 * 1024,
    targets_max_length=1024 * 1024,
)


class DurableUpdater(Updater):
    """python-tuf's client, whose metadata survives a power cut once it was accepted.

    python-tuf writes without fsync: a cut after a refresh brought old metadata back, which was then accepted.
    """

    def refresh(self) -> None:
        """As python-tuf's, and durable; also where it failed, since what came before the failure is kept."""
        try:
            super().refresh()
        finally:
            self._sync()

    def get_targetinfo(self, target_path: str) -> TargetFile | None:
        """As python-tuf's, and the metadata of delegated roles that this fetched is durable."""
        try:
            return super().get_targetinfo(target_path)
        finally:
            self._sync()

    def _sync(self) -> None:
        for folder in (Path(self._dir, "root_history"), Path(self._dir)):
            for path in folder.glob("*.json"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
            sync_folder(folder)


class DeviceUpdater(DurableUpdater):
    """The client as the device uses it: at a time that its caller tells, and able to say what it trusts."""

    def __init__(self, folder: Path, trusted_root: bytes, fetcher: FetcherInterface, now_s: float) -> None:
        super().__init__(str(folder), METADATA_URL, fetcher=fetcher, config=LIMITS, bootstrap=trusted_root)
        self._trusted_set.reference_time = datetime.fromtimestamp(now_s, UTC)

    @property
    def trusted(self) -> TrustedMetadata:
        """What this client trusts after a refresh."""
        now = self._trusted_set
        roles = (now.root.roles[Timestamp.type], now.root.roles[Snapshot.type])
        online = "|".join(f"{role.threshold}:{','.join(sorted(role.keyids))}" for role in roles)
        versions = MetadataFloor(
            root=now.root.version,
            timestamp=now.timestamp.version,
            snapshot=now.snapshot.version,
            targets=now.targets.version,
            online_keys=hashlib.sha256(online.encode()).hexdigest(),
        )
        listed = now.targets.targets.items()
        return TrustedMetadata(versions, {path: _target(file) for path, file in listed if "sha256" in file.hashes})


@dataclass(frozen=True, slots=True)
class Target:
    """A file that release signers vouch for. `custom` is what they say of it."""

    sha256: str
    size_bytes: int
    custom: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TrustedMetadata:
    """What the current metadata says: its versions, to be kept as the next floor, and the targets by path."""

    versions: MetadataFloor
    targets: Mapping[str, Target]


@dataclass(frozen=True, slots=True)
class FirstRoot:
    """What the first root of trust says of the root keys."""

    version: int
    keys: int
    threshold: int


def read_first_root(content: bytes) -> FirstRoot:
    """The first root of trust, which must be signed by its own keys. It may have expired: its successors are fetched.

    Raises:
        UpdateError: E_ROOT.
    """
    try:
        metadata: Metadata[Root] = Metadata.from_bytes(content)
        if not isinstance(metadata.signed, Root):
            raise UpdateError(Code.E_ROOT, f"expected root metadata, found {metadata.signed.type}")
        metadata.verify_delegate(Root.type, metadata)
    except (tuf_errors.RepositoryError, ValueError) as error:
        raise UpdateError(Code.E_ROOT, f"expected root metadata that is signed by its own keys: {error}") from error
    role = metadata.signed.roles[Root.type]
    return FirstRoot(metadata.signed.version, len(role.keyids), role.threshold)


def refresh(
    folder: Path, trusted_root: bytes, fetcher: FetcherInterface, clock: ClockReading, floors: Floors
) -> TrustedMetadata:
    """Bring the metadata in `folder` up to date and make it durable.

    `trusted_root` is the root that the device was provisioned with; the folder alone is never believed.

    Raises:
        UpdateError: a code of the groups trust and fetch.
    """
    hold(check_clock(clock, floors))
    watched = _Watched(fetcher)
    try:
        updater = DeviceUpdater(folder, trusted_root, watched, clock.now_s)
        updater.refresh()
    except tuf_errors.RepositoryError as error:
        raise UpdateError(_repository_code(error, watched.stage), f"{watched.stage}: {error}") from error
    except (tuf_errors.DownloadError, OSError) as error:
        raise UpdateError(fetch_code(error), f"{watched.stage}: {error}") from error
    trusted = updater.trusted
    fallen = _below(trusted.versions, floors.metadata)
    if fallen:
        raise UpdateError(Code.E_MD_ROLLBACK, fallen)
    return trusted


def fetch_target(fetcher: FetcherInterface, metadata: TrustedMetadata, path: str, max_bytes: int) -> bytes:
    """A small target, verified.

    Raises:
        UpdateError: E_NOT_IN_TARGETS, E_TOO_BIG, or a code of the group fetch.
    """
    target = metadata.targets.get(path)
    if target is None:
        raise UpdateError(Code.E_NOT_IN_TARGETS, f"{path}: expected among the signed targets, found nothing")
    if target.size_bytes > max_bytes:
        raise UpdateError(Code.E_TOO_BIG, f"{path}: expected at most {max_bytes} bytes, found {target.size_bytes}")
    try:
        content = fetcher.download_bytes(TARGETS_URL + path, target.size_bytes)
    except (tuf_errors.DownloadError, OSError) as error:
        raise UpdateError(fetch_code(error), f"{path}: {error}") from error
    check_content(content, target, path)
    return content


def check_content(content: bytes, target: Target, path: str) -> None:
    """Hold a file against what was signed.

    Raises:
        UpdateError: E_LENGTH or E_HASH.
    """
    if len(content) != target.size_bytes:
        raise UpdateError(Code.E_LENGTH, f"{path}: expected {target.size_bytes} bytes, found {len(content)}")
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != target.sha256:
        raise UpdateError(Code.E_HASH, f"{path}: expected sha256 {target.sha256}, found {sha256}")


def fetch_code(error: tuf_errors.DownloadError | OSError) -> Code:
    """What kept a file from coming, or from being kept."""
    if isinstance(error, OSError):
        return Code.E_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else Code.E_IO
    if isinstance(error, tuf_errors.DownloadLengthMismatchError):
        return Code.E_LENGTH
    if isinstance(error, tuf_errors.SlowRetrievalError):
        return Code.E_DEADLINE
    return Code.E_HTTP if isinstance(error, tuf_errors.DownloadHTTPError) else Code.E_NET


class _Watched(FetcherInterface):
    """Knows which role's metadata was asked for last: python-tuf's errors do not say it."""

    def __init__(self, inner: FetcherInterface) -> None:
        self._inner = inner
        self.stage = Root.type

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.stage = re.sub(r"^\d+\.|\.json$", "", url.removeprefix(METADATA_URL))
        return self._inner.fetch(url)


def _repository_code(error: tuf_errors.RepositoryError, stage: str) -> Code:
    """What the metadata of a role did wrong."""
    if isinstance(error, tuf_errors.ExpiredMetadataError):
        return Code.E_MD_EXPIRED
    if stage == Root.type:
        return Code.E_ROOT
    if isinstance(error, tuf_errors.UnsignedMetadataError | DeserializationError):
        return Code.E_MD_SIG
    if stage == Timestamp.type and isinstance(error, tuf_errors.BadVersionNumberError):
        return Code.E_MD_ROLLBACK
    return Code.E_MD_MIX


def _below(found: MetadataFloor, floor: MetadataFloor) -> str:
    """Which role fell below the floor, in words; nothing where none did."""
    if found.root < floor.root:
        return f"root: expected version {floor.root} or later, found {found.root}"
    if found.online_keys == floor.online_keys:
        for role in ("timestamp", "snapshot", "targets"):
            if getattr(found, role) < getattr(floor, role):
                return f"{role}: expected version {getattr(floor, role)} or later, found {getattr(found, role)}"
    return ""


def _target(file: TargetFile) -> Target:
    custom = file.custom
    return Target(file.hashes["sha256"], file.length, custom if isinstance(custom, dict) else {})
