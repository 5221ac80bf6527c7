"""Attacks on TUF metadata and its folder, and the faults of where it comes from."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

from edgeapp.updates.fetchers import FolderFiles
from tests.fakes.attacks import ACCEPTED, DAY_S, Target, attack, fault
from tests.fakes.releases import NOW, NOW_S, key, manifest


def rolled_back(target: Target) -> bytes:
    """A good command with metadata of the day before."""
    stale = target.repository.files
    target.repository.add_release(manifest(8), security_floor=8)
    assert target.receive(target.repository.message(seq=1, op="status", release=None)) == ACCEPTED
    return target.repository.message(files=stale)


attack("metadata rolled back", "E_MD_ROLLBACK")(rolled_back)


@attack("metadata rolled back after the cache was wiped", "E_MD_ROLLBACK")
def _(target: Target) -> bytes:
    message = rolled_back(target)
    shutil.rmtree(target.metadata_dir)
    return message


@attack("metadata rolled back after a power cut took the cache back", "E_MD_ROLLBACK")
def _(target: Target) -> bytes:
    stale = target.repository.files
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    shutil.copytree(target.metadata_dir, target.folder / "before", symlinks=True)
    target.repository.publish()
    assert target.receive(target.repository.message(seq=2)) == ACCEPTED
    shutil.rmtree(target.metadata_dir)
    (target.folder / "before").rename(target.metadata_dir)
    return target.repository.message(files=stale)


@attack("mix and match: old targets under a new snapshot", "E_MD_MIX")
def _(target: Target) -> bytes:
    old = target.repository.signed[target.repository.file_of("targets")]
    target.repository.publish()
    files = {**target.repository.files, target.repository.file_of("targets"): old}
    return target.repository.message(files=files)


@attack("mix and match: an old snapshot under a new timestamp", "E_MD_MIX")
def _(target: Target) -> bytes:
    old = target.repository.signed[target.repository.file_of("snapshot")]
    target.repository.publish()
    files = {**target.repository.files, target.repository.file_of("snapshot"): old}
    return target.repository.message(files=files)


@attack("freeze", "E_MD_EXPIRED")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    target.at(NOW_S + 15 * DAY_S)
    return target.repository.message(iat=int(NOW_S) + 15 * DAY_S, exp=int(NOW_S) + 16 * DAY_S)


@attack("targets signed by one of two", "E_MD_SIG")
def _(target: Target) -> bytes:
    target.repository.sign("targets", "targets0")
    return target.repository.message()


@attack("roles crossed: the online key on targets", "E_MD_SIG")
def _(target: Target) -> bytes:
    target.repository.sign("targets", "online", "anna")
    return target.repository.message()


@attack("roles crossed: targets in place of the timestamp", "E_MD_MIX")
def _(target: Target) -> bytes:
    targets = target.repository.signed[target.repository.file_of("targets")]
    return target.repository.message(files={**target.repository.files, "timestamp.json": targets})


@attack("deep JSON as metadata", "E_MD_SIG")
def _(target: Target) -> bytes:
    deep = b"[" * 8000
    return target.repository.message(files={**target.repository.files, "timestamp.json": deep})


@attack("endless metadata", "E_LENGTH")
def _(target: Target) -> bytes:
    endless = target.repository.files["timestamp.json"] + b" " * 20_000
    return target.repository.message(files={**target.repository.files, "timestamp.json": endless})


def replace_online_key(target: Target) -> None:
    root = target.repository.root.signed
    for role in ("snapshot", "timestamp"):
        root.revoke_key(root.roles[role].keyids[0], role)
        root.add_key(key("online2").public_key, role)


@attack("a root chain with a gap", "E_MD_SIG")
def _(target: Target) -> bytes:
    target.repository.rotate_root("root0", "root1")
    replace_online_key(target)
    target.repository.rotate_root("root0", "root1")
    target.repository.sign("snapshot", "online2")
    target.repository.sign("timestamp", "online2")
    files = target.repository.files
    del files["2.root.json"]
    return target.repository.message(files=files)


@attack("a root chain whose gap is papered over", "E_ROOT")
def _(target: Target) -> bytes:
    target.repository.rotate_root("root0", "root1")
    target.repository.rotate_root("root0", "root1")
    files = target.repository.files
    return target.repository.message(files={**files, "2.root.json": files["3.root.json"]})


@attack("a root that only its own new keys signed", "E_ROOT")
def _(target: Target) -> bytes:
    root = target.repository.root.signed
    for _ in range(3):
        root.revoke_key(root.roles["root"].keyids[0], "root")
    for name in ("thief0", "thief1"):
        root.add_key(key(name).public_key, "root")
    target.repository.rotate_root("thief0", "thief1")
    return target.repository.message()


@attack("a root that one of two signed", "E_ROOT")
def _(target: Target) -> bytes:
    target.repository.rotate_root("root0")
    return target.repository.message()


@attack("planted symlinks in the metadata folder", "accepted, what they point to is untouched")
def _(target: Target) -> str:
    victim = target.folder / "victim"
    victim.write_bytes(b"precious")
    (target.metadata_dir / "root_history").mkdir(parents=True)
    for name in ("timestamp", "snapshot", "targets", "root", "root_history/1.root"):
        (target.metadata_dir / f"{name}.json").symlink_to(victim)
    (target.metadata_dir / "operators").symlink_to(victim)
    (target.metadata_dir / "nowhere.json").symlink_to(target.folder / "nothing")
    result = target.receive(target.repository.message())
    return f"{result}, what they point to is {'untouched' if victim.read_bytes() == b'precious' else 'overwritten'}"


def stick(target: Target) -> Path:
    """The repository as a USB stick brings it."""
    folder = target.folder / "stick"
    target.repository.write(folder)
    target.other = FolderFiles(folder)
    return folder


@attack("planted symlinks on a USB stick", "E_HTTP")
def _(target: Target) -> bytes:
    secret = target.folder / "secret"
    secret.write_bytes(target.repository.files["timestamp.json"])
    planted = stick(target) / "metadata" / "timestamp.json"
    planted.unlink()
    planted.symlink_to(secret)
    return target.repository.message(files={})


for _file in ("timestamp", "snapshot", "targets", "root_history/1.root"):
    for _what, _torn in (("empty", b""), ("torn", b'{"signed": {"_ty'), ("zeroed", bytes(400))):

        def torn_cache(target: Target, file: str = _file, content: bytes = _torn) -> bytes:
            assert target.receive(target.repository.message(seq=1)) == ACCEPTED
            (target.metadata_dir / f"{file}.json").write_bytes(content)
            target.repository.publish()
            return target.repository.message()

        fault(f"cached {_file}.json is {_what}", ACCEPTED)(torn_cache)


@fault("the kept list of operators is torn", ACCEPTED)
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    (target.metadata_dir / "operators").write_bytes(b"{")
    return target.repository.message()


@fault("a stolen online key was replaced: versions begin anew", ACCEPTED)
def _(target: Target) -> bytes:
    repository = target.repository
    repository.timestamp.signed.version = repository.snapshot.signed.version = 1_000_000
    repository.publish()
    assert target.receive(repository.message(seq=1)) == ACCEPTED
    replace_online_key(target)
    repository.rotate_root("root0", "root1")
    repository.timestamp.signed.version = repository.snapshot.signed.version = 10
    repository.timestamp.signed.snapshot_meta.version = 10
    repository.sign("snapshot", "online2")
    repository.sign("timestamp", "online2")
    return repository.message()


@fault("the metadata comes from a USB stick", ACCEPTED)
def _(target: Target) -> bytes:
    stick(target)
    return target.repository.message(files={})


@fault("a file of the USB stick is missing", "E_HTTP")
def _(target: Target) -> bytes:
    (stick(target) / "metadata" / "timestamp.json").unlink()
    return target.repository.message(files={})


@fault("the metadata folder cannot be made", "E_IO")
def _(target: Target) -> bytes:
    target.metadata_dir.write_bytes(b"a file")
    return target.repository.message()


@fault("the provisioned root is torn", "E_ROOT")
def _(target: Target) -> bytes:
    target.trusted_root = target.trusted_root[:100]
    return target.repository.message()


@fault("the root has expired", "E_MD_EXPIRED")
def _(target: Target) -> bytes:
    target.repository.root.signed.expires = NOW - timedelta(days=1)
    target.repository.rotate_root("root0", "root1")
    return target.repository.message()
