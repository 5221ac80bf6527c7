"""Attacks on commands, metadata, manifests and policy, and the faults of where they come from.

Importing this module lists them. Everything up to the admission of a command is attacked; fetching and switching are
not.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from edgeapp.updates import command as commands
from edgeapp.updates import metadata as trust
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.fetchers import CarriedFiles, FolderFiles
from tests.fakes.attacks import ACCEPTED, ALL_REFUSED, Target, attack, fault
from tests.fakes.releases import NOW, NOW_S, OPERATORS_PATH, ROLES, key, manifest, operator, pack, seal

DAY_S = 86400
_BITS = (0x01, 0x20, 0x80)
_METADATA_BITS = (0x01, 0x80)  # 0x20 only changes the case of a hexadecimal digit, which means the same
_EVERYDAY_STRIDE = 41


def two_of(target: Target) -> None:
    """Two operators, both needed."""
    target.repository.set_operators(operator("anna", "install"), operator("bea", "install"), threshold=2)


# Signatures


@attack("unsigned", "E_SIG")
def _(target: Target) -> bytes:
    return pack(seal(target.repository.command()), target.repository.files)


@attack("signed by a stranger", "E_SIG")
def _(target: Target) -> bytes:
    return target.repository.message("stranger")


@attack("roles crossed: a release signer's key on a command", "E_SIG")
def _(target: Target) -> bytes:
    return target.repository.message("targets0", "targets1")


@attack("roles crossed: the online key on a command", "E_SIG")
def _(target: Target) -> bytes:
    return target.repository.message("online")


@attack("signed by one of two", "E_THRESHOLD")
def _(target: Target) -> bytes:
    two_of(target)
    return target.repository.message("anna")


@attack("the same signature twice", "E_THRESHOLD")
def _(target: Target) -> bytes:
    two_of(target)
    envelope = seal(target.repository.command(), "anna")
    envelope["signatures"] *= 2
    return pack(envelope, target.repository.files)


@attack("the same signature under another's name", "E_THRESHOLD")
def _(target: Target) -> bytes:
    two_of(target)
    envelope = seal(target.repository.command(), "anna")
    relabelled = {**envelope["signatures"][0], "keyid": operator("bea", "install")["keyid"]}
    envelope["signatures"].append(relabelled)
    return pack(envelope, target.repository.files)


@attack("one key listed under two names", "E_THRESHOLD")
def _(target: Target) -> bytes:
    anna = operator("anna", "install")
    target.repository.set_operators(anna, {**anna, "name": "anna-too", "keyid": "alias"}, threshold=2)
    envelope = seal(target.repository.command(), "anna")
    envelope["signatures"].append({**envelope["signatures"][0], "keyid": "alias"})
    return pack(envelope, target.repository.files)


@attack("an operation that the operator may not order", "E_OP_NOT_ALLOWED")
def _(target: Target) -> bytes:
    target.repository.set_operators(operator("anna", "cancel", "status"))
    return target.repository.message()


@attack("a revoked operator", "E_SIG")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    target.repository.set_operators(operator("bea", "install"))
    return target.repository.message("anna")


@attack("a revoked operator with the metadata of before", "E_MD_ROLLBACK")
def _(target: Target) -> bytes:
    stale = target.repository.files
    target.repository.set_operators(operator("bea", "install"))
    assert target.receive(target.repository.message("bea", seq=1)) == ACCEPTED
    return target.repository.message("anna", files=stale)


@attack("another payload type under a good signature", "E_PARSE")
def _(target: Target) -> bytes:
    envelope = {**seal(target.repository.command(), "anna"), "payloadType": "application/vnd.in-toto+json"}
    return pack(envelope, target.repository.files)


# Tampering, byte by byte


def altered(content: bytes, stride: int, bits: tuple[int, ...]) -> Iterator[bytes]:
    """The content with one bit changed, for every `stride`-th byte."""
    for position in range(0, len(content), stride):
        for bit in bits:
            yield content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :]


def all_refused(tampered: Iterator[bytes], take: Callable[[bytes], None]) -> str:
    """Whether every one was refused, by an UpdateError and nothing else."""
    for content in tampered:
        try:
            take(content)
        except UpdateError:
            continue
        return f"taken: {content!r}"
    return ALL_REFUSED


@attack("tampering: every byte of a small command", ALL_REFUSED)
def _(target: Target) -> str:
    operators = commands.read_document(commands.Operators, target.repository.contents[OPERATORS_PATH], OPERATORS_PATH)

    def take(content: bytes) -> None:
        signed, _ = commands.read_message(content)
        for refusal in (
            commands.judge(signed, target.facts, target.floors, target.clock),
            commands.check_signatures(signed, operators),
        ):
            if refusal:
                raise UpdateError(refusal.code, refusal.text)

    message = target.repository.message(files={})
    take(message)
    return all_refused(altered(message, 1, _BITS), take)


def tamper_metadata(role: str) -> Callable[[Target], str]:
    """Alter each byte of a role's newest metadata, for a device that has seen the version before."""

    def run(target: Target) -> str:
        repository = target.repository
        assert target.receive(repository.message(seq=1)) == ACCEPTED
        if role == "root":
            repository.rotate_root("root0", "root1")
        repository.publish()
        files, name = repository.files, repository.file_of(role)

        def take(content: bytes) -> None:
            fetcher = CarriedFiles({**files, name: content})
            trust.refresh(target.metadata_dir, target.trusted_root, fetcher, target.clock, target.floors)

        stride = 1 if target.is_thorough else _EVERYDAY_STRIDE
        result = all_refused(altered(files[name], stride, _METADATA_BITS), take)
        take(files[name])
        return result

    return run


for _role in ("root", *ROLES):
    attack(f"tampering: every byte of {_role}.json", ALL_REFUSED)(tamper_metadata(_role))


def tamper_content(content: bytes) -> str:
    vouched = trust.Target(sha256(content).hexdigest(), len(content), {})
    trust.check_content(content, vouched, "file")
    return all_refused(altered(content, 1, _BITS), lambda tampered: trust.check_content(tampered, vouched, "file"))


@attack("tampering: every byte of a manifest", ALL_REFUSED)
def _(target: Target) -> str:
    return tamper_content(target.repository.contents["releases/person/7.json"])


@attack("tampering: every byte of a blob", ALL_REFUSED)
def _(target: Target) -> str:
    return tamper_content(bytes(range(256)) * 16)


@attack("a manifest with a byte more", "E_LENGTH")
def _(target: Target) -> bytes:
    path = "releases/person/7.json"
    content = target.repository.contents[path] + b" "
    return target.repository.message(files={**target.repository.files, path: content})


@attack("another manifest of the same length", "E_HASH")
def _(target: Target) -> bytes:
    path = "releases/person/7.json"
    content = target.repository.contents[path].replace(b"320", b"640")
    return target.repository.message(files={**target.repository.files, path: content})


# Replay and time


@attack("replay", "E_REPLAY")
def _(target: Target) -> bytes:
    message = target.repository.message()
    assert target.receive(message) == ACCEPTED
    return message


@attack("a lower seq", "E_REPLAY")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=10)) == ACCEPTED
    return target.repository.message(seq=9)


@attack("the same seq with other content", "E_REPLAY")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=10)) == ACCEPTED
    return target.repository.message(seq=10, reason="another")


@attack("a retained stale command", "E_EXPIRED")
def _(target: Target) -> bytes:
    message = target.repository.message()
    target.at(NOW_S + 7 * DAY_S)
    return message


@attack("10 000 commands", "10000 times E_REPLAY")
def _(target: Target) -> str:
    assert target.receive(target.repository.message()) == ACCEPTED
    message = target.repository.message(files={})
    codes = {target.receive(message) for _ in range(10_000)}
    return f"10000 times {', '.join(sorted(codes))}"


@attack("expired", "E_EXPIRED")
def _(target: Target) -> bytes:
    return target.repository.message(exp=int(NOW_S))


@attack("issued in the future", "E_NOT_YET")
def _(target: Target) -> bytes:
    return target.repository.message(iat=int(NOW_S) + 3000)


@attack("not to be followed yet", "E_NOT_YET")
def _(target: Target) -> bytes:
    return target.repository.message(not_before=int(NOW_S) + 1)


@attack("clock at 1970", "E_CLOCK")
def _(target: Target) -> bytes:
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    target.at(0.0)
    return target.repository.message(iat=0)


@attack("clock not synchronised", "E_CLOCK")
def _(target: Target) -> bytes:
    target.at(NOW_S, is_synchronised=False)
    return target.repository.message()


@attack("clock at 2100", "E_MD_EXPIRED")
def _(target: Target) -> bytes:
    target.at(4_102_444_800.0)
    return target.repository.message(exp=1 << 40)


# Metadata


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


# Form


def with_payload(target: Target, payload: bytes) -> bytes:
    """A well-signed command of these bytes."""
    return pack(seal(payload, "anna"), target.repository.files)


def with_text(old: str, new: str) -> Callable[[Target], bytes]:
    """A well-signed command in whose JSON a part was replaced."""

    def run(target: Target) -> bytes:
        text = json.dumps(target.repository.command(), separators=(",", ":"))
        assert old in text
        return with_payload(target, text.replace(old, new, 1).encode())

    return run


for _name, _old, _new in (
    ("duplicate keys", '"op":"install"', '"op":"status","op":"install"'),
    ("NaN", '"seq":10', '"seq":NaN'),
    ("infinity", '"seq":10', '"seq":1e999'),
    ("a huge integer", '"seq":10', f'"seq":{"9" * 5000}'),
    ("a fraction for an integer", '"seq":10', '"seq":10.5'),
    ("a number in quotes", '"seq":10', '"seq":"10"'),
    ("an unknown key", '"op":"install"', '"op":"install","shell":"reboot"'),
    ("an unknown operation", '"op":"install"', '"op":"exec"'),
    ("an unknown version", '"v":1', '"v":2'),
    ("a release path with ..", "releases/person/7.json", "releases/../../7.json"),
    ("an absolute release path", "releases/person/7.json", "/etc/passwd"),
    ("a release path with an escape", "releases/person/7.json", "releases/%2e%2e/7.json"),
    ("deep JSON in a command", '"aud":{"all":true}', f'"aud":{"[" * 400}{"]" * 400}'),
):
    attack(_name, "E_PARSE")(with_text(_old, _new))


@attack("deep JSON as a message", "E_PARSE")
def _(target: Target) -> bytes:
    return b'{"command":' * 5000


@attack("no JSON", "E_PARSE")
def _(target: Target) -> bytes:
    return b"\xff\xfe\x00"


@attack("base64 with stray bits", "E_PARSE")
def _(target: Target) -> bytes:
    envelope = seal(target.repository.command(), "anna")
    text = envelope["signatures"][0]["sig"]
    stray = text[:-3] + chr(ord(text[-3]) + 1) + "=="
    assert base64.b64decode(stray) == base64.b64decode(text)
    envelope["signatures"][0]["sig"] = stray
    return pack(envelope, target.repository.files)


@attack("a message without end", "E_TOO_BIG")
def _(target: Target) -> bytes:
    return target.repository.message(files={**target.repository.files, "x": b" " * 70_000})


def with_model(**changes: Any) -> Callable[[Target], bytes]:
    """A genuine release whose manifest says something of its model that it should not."""

    def run(target: Target) -> bytes:
        content = manifest(8)
        content["model"].update(changes)
        return install(target, content)

    return run


def install(target: Target, content: dict[str, Any], **custom: Any) -> bytes:
    """Publish a release and order it."""
    path = target.repository.add_release(content, **custom)
    reference = {"path": path, "sha256": sha256(target.repository.contents[path]).hexdigest()}
    return target.repository.message(release=reference)


_FILE = {"sha256": "a" * 64, "size_bytes": 1}
for _name, _changes in (
    ("a model file with .. in its name", {"model": {"file": "../../etc/cron.d/x", **_FILE}}),
    ("a model file with an absolute name", {"model": {"file": "/etc/cron.d/x", **_FILE}}),
    ("a model file called model.json", {"model": {"file": "model.json", **_FILE}}),
    ("a release without golden cases", {"golden": None}),
):
    attack(_name, "E_PARSE")(with_model(**_changes))


@attack("a manifest under another release's path", "E_PARSE")
def _(target: Target) -> bytes:
    path, content = "releases/person/9.json", manifest(8)
    target.repository.add(path, content, {"version": 9})
    digest = sha256(target.repository.contents[path]).hexdigest()
    return target.repository.message(release={"path": path, "sha256": digest})


@attack("planted symlinks in the metadata folder", "accepted, what they point to is untouched")
def _(target: Target) -> str:
    victim = target.folder / "victim"
    victim.write_bytes(b"precious")
    (target.metadata_dir / "root_history").mkdir(parents=True)
    for name in ("timestamp", "snapshot", "targets", "root", "root_history/1.root"):
        (target.metadata_dir / f"{name}.json").symlink_to(victim)
    (target.metadata_dir / "operators").symlink_to(victim)
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


# Policy


@attack("not among the targets", "E_NOT_IN_TARGETS")
def _(target: Target) -> bytes:
    return target.repository.message(release={"path": "releases/person/99.json", "sha256": "a" * 64})


@attack("another hash than the targets'", "E_NOT_IN_TARGETS")
def _(target: Target) -> bytes:
    return target.repository.message(release={"path": "releases/person/7.json", "sha256": "a" * 64})


@attack("withdrawn", "E_WITHDRAWN")
def _(target: Target) -> bytes:
    return install(target, manifest(8), withdrawn=True)


@attack("below the security floor, with allow_downgrade", "E_FLOOR")
def _(target: Target) -> bytes:
    target.repository.add_release(manifest(8), security_floor=8)
    return target.repository.message(allow_downgrade=True)


@attack("blocked after it failed here", "E_BLOCKED")
def _(target: Target) -> bytes:
    target.with_floors(blocked=frozenset({target.repository.command()["release"]["sha256"]}))
    return target.repository.message()


@attack("a downgrade", "E_DOWNGRADE")
def _(target: Target) -> bytes:
    target.with_floors(version_floor=8)
    return target.repository.message()


@attack("for another device", "E_AUDIENCE")
def _(target: Target) -> bytes:
    return target.repository.message(aud={"devices": ["yard-2"], "groups": ["lobby"]})


@attack("outside the cohort", "E_AUDIENCE")
def _(target: Target) -> bytes:
    return target.repository.message(aud={"all": True, "cohort": {"salt": "r7", "pct": 0}})


_COMPAT = manifest()["compat"]
for _code, _compat in (
    ("E_COMPAT_APP", {"app": {"min": "0.2"}}),
    ("E_COMPAT_APP", {"app": {"min": "0.0.1", "below": "0.1"}}),
    ("E_COMPAT_RUNTIME", {"runtimes": {"ai-edge-litert": "2.10"}}),
    ("E_COMPAT_RUNTIME", {"runtimes": {"tflite-runtime": "2.0"}}),
    ("E_COMPAT_RUNTIME", {"delegates": ["none"]}),
    ("E_COMPAT_ARCH", {"arch": ["x86_64"]}),
    ("E_COMPAT_BOARD", {"boards": ["Raspberry Pi 5"]}),
    ("E_COMPAT_RAM", {"min_ram_mb": 4000}),
):
    attack(f"a release that needs {json.dumps(_compat)}", _code)(
        lambda target, compat=_compat: install(target, manifest(8, compat={**_COMPAT, **compat}))  # type: ignore[misc]
    )


@attack("a release without the class that is counted", "E_COMPAT_IO")
def _(target: Target) -> bytes:
    target.facts = dataclasses.replace(target.facts, classes=("person", "bicycle"))
    return target.repository.message()


# Faults: trouble without ill will


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
