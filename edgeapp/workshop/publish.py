"""Publishing: the repository as a folder that any web server, bucket or stick holds, and its files as MQTT blocks.

Owns the order and the checks: nothing is published that a device would refuse, nothing over another repository or a
newer state, files before the metadata that names them, timestamp.json last. So whoever reads meanwhile sees the old
state or the new one; only where keys or operators change may a device that reads in that moment refuse, and try again.
All of it may be repeated and goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Metadata, Timestamp
from tuf.api.serialization import DeserializationError

from edgeapp.errors import ReleaseError
from edgeapp.messaging.topics import consents
from edgeapp.updates.broker_files import read_files
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.release import release_files
from edgeapp.workshop.commands import pack_consents
from edgeapp.workshop.progress import Progress, silent
from edgeapp.workshop.releases import Listed, as_a_device, copy_durably, releases
from edgeapp.workshop.repository import Repository, blob_path, read_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from edgeapp.workshop.broker_blocks import BrokerBlocks

_STICK_FOLDER = "edgeapp"
_TIMESTAMP = "timestamp.json"


def publish_folder(repository: Repository, folder: Path, now: datetime, progress: Progress = silent) -> int:
    """Bring `folder` (made if need be) to the repository's state, and read it as a device; the files it has.

    Raises:
        ReleaseError: the folder holds another repository or a newer state.
        UpdateError: a device would refuse what is to be published, or what was.
    """
    first_root = repository.first_root
    trusted = as_a_device(repository.folder, first_root, now)
    _check_destination(repository, folder)
    targets = sorted(trusted.targets, key=lambda path: not path.startswith("blobs/"))  # what the others name, first
    metadata = sorted(
        (path.name for path in repository.metadata_dir.glob("*.json")),
        key=lambda name: (name == _TIMESTAMP, not name.endswith(".root.json"), name),
    )
    files = [f"targets/{path}" for path in targets] + [f"metadata/{name}" for name in metadata]
    for done, name in enumerate(files):
        progress("publish", done / len(files))
        copy_durably(repository.folder / name, folder / name)
    as_a_device(folder, first_root, now)
    progress("publish", 1.0)
    return len(files)


def publish_stick(repository: Repository, stick: Path, now: datetime, progress: Progress = silent) -> int:
    """As `publish_folder`, into the folder `edgeapp` of a mounted stick.

    Raises:
        ReleaseError: also where there is no such folder: the stick is not there, and no folder is made in its place.
    """
    if not stick.is_dir():
        raise ReleaseError(f"{stick}: expected a mounted stick, found nothing: nothing was written")
    return publish_folder(repository, stick / _STICK_FOLDER, now, progress)


def publish_blocks(
    repository: Repository, broker: BrokerBlocks, names: Sequence[str], now: datetime, progress: Progress = silent
) -> int:
    """Have the files of these releases kept as blocks (of none: the newest of each model); how many were sent.

    Raises:
        ReleaseError: one of the releases is withdrawn or not there, or the blocks are not kept.
        UpdateError: a device would refuse the repository.
    """
    as_a_device(repository.folder, repository.first_root, now)
    hashes = sorted({spec.sha256 for release in _chosen(repository, names) for spec in release_files(release.manifest)})
    return sum(broker.put(repository.targets_dir / blob_path(sha256), sha256, progress) for sha256 in hashes)


def publish_consents(repository: Repository, broker: BrokerBlocks, prefix: str) -> int | None:
    """Have the broker keep the consents of the tenant that `prefix` ends with; how many there are.

    None, and nothing is kept, where there is none and the broker keeps none either.

    Raises:
        ReleaseError: the broker keeps those of a newer state, or does not keep these.
        CommandError: they are more than devices read.
    """
    content, count = pack_consents(repository, prefix.rpartition("/")[2])
    topic = consents(prefix).removeprefix(f"{prefix}/")
    kept = broker.kept(topic)
    if not count and kept is None:
        return None
    ours, theirs = repository.newest(Timestamp.type), _timestamp(kept)
    if ours is not None and theirs > ours.signed.version:
        raise ReleaseError(
            f"{consents(prefix)}: expected a state up to timestamp {ours.signed.version}, found {theirs}: "
            "this copy of the repository is not the newest"
        )
    broker.keep(topic, content)
    return count


def _timestamp(kept: bytes | None) -> int:
    """The version of the timestamp in a retained message; 0 where it is none that can be read."""
    try:
        content = read_files(kept or b"").get(_TIMESTAMP, b"")
        metadata: Metadata[Timestamp] = Metadata.from_bytes(content)
    except (UpdateError, DeserializationError):
        return 0
    return metadata.signed.version


def unpublish_blocks(repository: Repository, broker: BrokerBlocks, name: str) -> int:
    """Clear the blocks of a release's files, but for those that another release in force has too; how many files.

    Raises:
        ReleaseError: there is no such release.
    """
    listed = releases(repository)
    wanted = _named(listed, name)
    others = {
        spec.sha256
        for release in listed
        if release.path != wanted.path and not release.status.withdrawn
        for spec in release_files(release.manifest)
    }
    specs = [spec for spec in release_files(wanted.manifest) if spec.sha256 not in others]
    for spec in specs:
        broker.clear(spec.sha256, spec.size_bytes)
    return len(specs)


def _chosen(repository: Repository, names: Sequence[str]) -> list[Listed]:
    listed = releases(repository)
    in_force = [release for release in listed if not release.status.withdrawn]
    if not names:
        newest: dict[str, Listed] = {}
        for release in in_force:
            newest.setdefault(release.manifest.model.name, release)
        return list(newest.values())
    chosen = [_named(listed, name) for name in names]
    for release in chosen:
        if release not in in_force:
            raise ReleaseError(f"{release.name}: expected a release in force, found it withdrawn")
    return chosen


def _named(listed: Sequence[Listed], name: str) -> Listed:
    for release in listed:
        if release.name == name:
            return release
    raise ReleaseError(f"{name}: expected a release of the repository (NAME/VERSION), found none: release list")


def _check_destination(repository: Repository, folder: Path) -> None:
    """Nothing over another repository or over what is none, and nothing older over newer."""
    root, timestamp = (folder / "metadata" / name for name in ("1.root.json", _TIMESTAMP))
    if root.exists() and root.read_bytes() != repository.first_root:
        raise ReleaseError(f"{folder}: expected this repository or nothing, found one with another first root")
    ours = repository.newest(Timestamp.type)
    if timestamp.exists() and ours is not None:
        theirs = read_metadata(timestamp).signed.version
        if theirs > ours.signed.version:
            raise ReleaseError(
                f"{folder}: expected a state up to timestamp {ours.signed.version}, found {theirs}: "
                "this copy of the repository is not the newest"
            )
