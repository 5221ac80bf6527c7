"""Releases in the repository: taken in, withdrawn, listed, and the repository looked at as a device looks at it.

Owns what is staged for a release (its manifest and files as TUF targets, and what its signers say of it) and the
check before anything is published. Signing is `repository.py`'s, publishing `publish.py`'s.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuf.api.metadata import TargetFile, Targets

from edgeapp.document import JSON_MAX_BYTES
from edgeapp.errors import ReleaseError
from edgeapp.escalation.consent import SITES, covered, in_words, read_consent
from edgeapp.manifest import FileSpec
from edgeapp.system.files import sha256_of, sync_folder, write_durably
from edgeapp.updates.command import OPERATORS_PATH
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.fetchers import FolderFiles
from edgeapp.updates.metadata import TrustedMetadata, fetch_target, refresh
from edgeapp.updates.release import ReleaseManifest, ReleaseStatus, read_release, read_status, release_files
from edgeapp.workshop.repository import Repository, blob_path, name_of, public_of

if TYPE_CHECKING:
    from datetime import datetime

_RELEASES = "releases/"


@dataclass(frozen=True, slots=True)
class Listed:
    """A release of the repository: the path of its manifest, the manifest, and what its signers say of it."""

    path: str
    sha256: str
    manifest: ReleaseManifest
    status: ReleaseStatus

    @property
    def name(self) -> str:
        """How people call it: NAME/VERSION."""
        return release_name(self.path)


def stage_release(repository: Repository, folder: Path, now: datetime, security_floor: int = 0) -> str:
    """Take a release that `release create` made into the repository, to be signed; its NAME/VERSION.

    Raises:
        ReleaseError: the folder is no release, a file of it is not what the manifest says, or its version is not
            above those that were signed before.
        UpdateError: the manifest is malformed.
    """
    path, content, release = _read_folder(folder)
    targets = repository.targets()
    finished = repository.newest(Targets.type)
    signed = finished.signed.targets if finished else {}
    versions = [read_status(file.custom or {}, name).version for name, file in signed.items() if is_release(name)]
    if release.model.version <= max(versions, default=0):
        raise ReleaseError(f"{path}: expected a version above {max(versions)}, one sequence for all models")
    for spec in release_files(release):
        source = folder / blob_path(spec.sha256)
        _check_file(source, spec)
        copy_durably(source, repository.targets_dir / blob_path(spec.sha256))
        targets.targets[blob_path(spec.sha256)] = TargetFile(
            spec.size_bytes, {"sha256": spec.sha256}, blob_path(spec.sha256)
        )
    (repository.targets_dir / path).parent.mkdir(parents=True, exist_ok=True)
    write_durably(repository.targets_dir / path, content)
    targets.targets[path] = TargetFile.from_data(path, content, ["sha256"])
    _set_status(targets, path, ReleaseStatus(version=release.model.version, security_floor=security_floor))
    _drop_orphans(repository, targets)
    repository.stage_targets(targets, now)
    return release_name(path)


def withdraw(repository: Repository, name: str, now: datetime, security_floor: int = 0) -> None:
    """Stage that no device takes the release any more; with a floor, nothing below that version either.

    Raises:
        ReleaseError: there is no such release.
    """
    targets, path = repository.targets(), f"{_RELEASES}{name}.json"
    if path not in targets.targets:
        raise ReleaseError(f"{name}: expected a release of the repository (NAME/VERSION), found none: release list")
    status = read_status(targets.targets[path].custom or {}, path)
    floor = max(security_floor, status.security_floor)
    _set_status(targets, path, dataclasses.replace(status, withdrawn=True, security_floor=floor))
    repository.stage_targets(targets, now)


def forget(repository: Repository, name: str, now: datetime) -> None:
    """Stage that a release is listed no more, so that the metadata, which each device reads whole, stays small.

    Raises:
        ReleaseError: there is no such release; it is the newest, above which the next one has to be; or no other one
            tells the security floor that it tells.
    """
    targets, listed = repository.targets(), releases(repository)
    forgotten = [release for release in listed if release.name == name]
    if not forgotten:
        raise ReleaseError(f"{name}: expected a release of the repository (NAME/VERSION), found none: release list")
    left = [release.status for release in listed if release.name != name]
    status = forgotten[0].status
    if status.version > max((other.version for other in left), default=0):
        raise ReleaseError(f"{name}: expected a release that is not the newest; withdraw it instead")
    if status.security_floor > max(other.security_floor for other in left):
        raise ReleaseError(f"{name}: expected another release to tell security floor {status.security_floor} too")
    del targets.targets[forgotten[0].path]
    _drop_orphans(repository, targets)
    repository.stage_targets(targets, now)


def releases(repository: Repository) -> list[Listed]:
    """The releases as they are to be, the newest first, their manifests held against what was or is to be signed.

    Raises:
        ReleaseError, UpdateError: a manifest is missing, malformed or another one.
    """
    found = []
    for path, file in repository.targets().targets.items():
        if is_release(path):
            content = repository.target_path(path).read_bytes()
            if hashlib.sha256(content).hexdigest() != file.hashes["sha256"]:
                raise ReleaseError(f"{path}: expected the manifest that the targets list, found another")
            status = read_status(file.custom or {}, path)
            found.append(Listed(path, file.hashes["sha256"], read_release(content, path), status))
    return sorted(found, key=lambda release: -release.status.version)


def changes(repository: Repository) -> list[str]:
    """What the staged metadata changes, in lines for those who are to sign it."""
    finished = repository.newest(Targets.type)
    before: dict[str, TargetFile] = finished.signed.targets if finished else {}
    after = repository.targets().targets
    lines = []
    for release in releases(repository):
        old = before.get(release.path)
        if old != after[release.path]:
            standing = "withdrawn" if release.status.withdrawn else "in force"
            floor = f", security floor {release.status.security_floor}" if release.status.security_floor else ""
            verb = "changes" if old else "new"
            lines.append(f"{verb}: release {release.name} ({release.sha256[:16]}…), {standing}{floor}")
    if before.get(OPERATORS_PATH) != after.get(OPERATORS_PATH):
        listed = repository.operators()
        who = "; ".join(f"{one.name}: {', '.join(one.ops)}" for one in listed.operators)
        lines.append(f"operators, {listed.threshold} must sign: {who}")
    for path in sorted({*filter(is_consent, before), *filter(is_consent, after)}):
        if path not in after:
            lines.append(f"consent {path} is taken back")
        elif before.get(path) != after[path]:
            consent = read_consent(repository.target_path(path).read_bytes(), path)
            lines.append(f"consent {path}: pictures may leave {covered(consent)} {in_words(consent)}")
    lines += [f"forgotten: {path}" for path in before if path not in after and is_release(path)]
    root, old_root = repository.root(), repository.roots()[-1]
    for role in old_root.roles:
        if root.roles[role] != old_root.roles[role]:
            keys = [root.keys[keyid] for keyid in root.roles[role].keyids]
            who = ", ".join(f"{name_of(key)} ({public_of(key)[:16]}…)" for key in keys)
            lines.append(f"{role}: {root.roles[role].threshold} of {who} must sign")
    return lines or ["nothing but a later expiry"]


def as_a_device(folder: Path, trusted_root: bytes, now: datetime) -> TrustedMetadata:
    """What a device that was provisioned with `trusted_root` believes of the repository in `folder`.

    Every manifest is read, every file held against its hash.

    Raises:
        UpdateError, ConsentError: what the device would refuse, with its code.
        ReleaseError: a file of a release is missing or another one.
    """
    fetcher = FolderFiles(folder)
    with tempfile.TemporaryDirectory() as cache:
        clock = ClockReading(now.timestamp(), is_synchronised=True)
        trusted = refresh(Path(cache), trusted_root, fetcher, clock, Floors())
    fetch_target(fetcher, trusted, OPERATORS_PATH, JSON_MAX_BYTES)
    for path in filter(is_consent, trusted.targets):
        read_consent(fetch_target(fetcher, trusted, path, JSON_MAX_BYTES), path)
    for path in filter(is_release, trusted.targets):
        release = read_release(fetch_target(fetcher, trusted, path, JSON_MAX_BYTES), path)
        for spec in release_files(release):
            if blob_path(spec.sha256) not in trusted.targets:
                raise ReleaseError(f"{path}: {spec.file}: expected among the signed targets, found nothing")
            _check_file(folder / "targets" / blob_path(spec.sha256), spec)
    return trusted


def copy_durably(source: Path, destination: Path) -> None:
    """Copy a file in one step; one that is there already with the same content is left alone."""
    if destination.is_file() and sha256_of(destination) == sha256_of(source):
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = destination.with_name(f".{destination.name}.new")
    try:
        with source.open("rb") as original, temporary.open("wb") as copy:
            shutil.copyfileobj(original, copy)
            copy.flush()
            os.fsync(copy.fileno())
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(destination.parent)


def _read_folder(folder: Path) -> tuple[str, bytes, ReleaseManifest]:
    found = sorted((folder / "releases").glob("*/*.json"))
    if len(found) != 1:
        raise ReleaseError(f"{folder}: expected a folder of `release create` with one release, found {len(found)}")
    path, content = found[0].relative_to(folder).as_posix(), found[0].read_bytes()
    return path, content, read_release(content, path)


def _check_file(path: Path, spec: FileSpec) -> None:
    if not path.is_file():
        raise ReleaseError(f"{path}: expected the release's {spec.file}, found nothing")
    found = sha256_of(path)
    if found != spec.sha256 or path.stat().st_size != spec.size_bytes:
        raise ReleaseError(f"{path}: expected the release's {spec.file}, sha256 {spec.sha256}, found {found}")


def _drop_orphans(repository: Repository, targets: Targets) -> None:
    """Take out the files that belong to no release any more."""
    wanted = {
        blob_path(spec.sha256)
        for path in targets.targets
        if is_release(path)
        for spec in release_files(read_release((repository.targets_dir / path).read_bytes(), path))
    }
    for path in list(targets.targets):
        if path.startswith("blobs/") and path not in wanted:
            del targets.targets[path]


def _set_status(targets: Targets, path: str, status: ReleaseStatus) -> None:
    custom: dict[str, Any] = {"version": status.version}
    if status.security_floor:
        custom["security_floor"] = status.security_floor
    if status.withdrawn:
        custom["withdrawn"] = True
    targets.targets[path].unrecognized_fields["custom"] = custom


def is_consent(path: str) -> bool:
    """Whether a target is the consent of a site."""
    return path.startswith(SITES)


def is_release(path: str) -> bool:
    """Whether a target is the manifest of a release."""
    return path.startswith(_RELEASES)


def release_name(path: str) -> str:
    """How people call the release whose manifest this target is: NAME/VERSION."""
    return path.removeprefix(_RELEASES).removesuffix(".json")
