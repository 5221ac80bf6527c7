"""A repository of releases with all its keys: what the operator's side publishes, and what a thief of keys could.

Built on python-tuf's metadata classes, never on edgeapp's own code: what it signs is an independent opinion of what a
device should take.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
PAYLOAD_TYPE = "application/vnd.edgeapp.command+json"
OPERATORS_PATH = "keys/operators.json"
ROLES = ("timestamp", "snapshot", "targets")
_COMPACT = JSONSerializer(compact=True)


@functools.cache
def key(name: str) -> CryptoSigner:
    """The key of that name, made once per process."""
    return CryptoSigner.generate_ed25519()


def public(name: str) -> str:
    """A key's public half, hexadecimal."""
    return str(key(name).public_key.keyval["public"])


def operator(name: str, *ops: str) -> dict[str, Any]:
    """One entry of the list of operators."""
    return {"name": name, "keyid": key(name).public_key.keyid, "public": public(name), "ops": list(ops)}


def manifest(version: int = 7, **changes: Any) -> dict[str, Any]:
    """A release's manifest; `changes` replace whole keys."""
    model = {
        "name": "person",
        "version": version,
        "model": {"file": "model.tflite", "sha256": "a" * 64, "size_bytes": 1000},
        "task": "detection",
        "classes": ["person"],
        "input": {"width": 320, "height": 320},
        "output": {"decoder": "ssd_raw", "tensors": {"boxes": "b", "scores": "s"}},
        "quantization": "int8",
        "golden": {"cases": {"file": "golden.npz", "sha256": "b" * 64, "size_bytes": 200}},
    }
    tensors = {"image": {"shape": [1, 320, 320, 3], "dtype": "int8", "scale": 0.0078, "zero_point": -1}}
    return {
        "v": 1,
        "semver": "1.4.0",
        "created": int(NOW_S) - 86400,
        "model": model,
        "tensors": tensors,
        "compat": {"app": {"min": "0.1"}, "runtimes": {"ai-edge-litert": "2.3"}},
        "accuracy": {"metric": "mAP", "data_set": "street", "float_model": 0.61, "quantized": 0.6, "floor": 0.55},
        **changes,
    }


@dataclass
class Repository:
    """Signed metadata of all four roles, 2-of-3 for root and targets, and the small targets' contents."""

    now: datetime = NOW
    signed: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = Root(expires=self.now + timedelta(days=365), consistent_snapshot=True)
        for role in ("root", "targets"):
            for number in range(3):
                root.add_key(key(f"{role}{number}").public_key, role)
            root.roles[role].threshold = 2
        for role in ("snapshot", "timestamp"):
            root.add_key(key("online").public_key, role)
        self.root: Metadata[Root] = Metadata(root)
        self.targets = Metadata(Targets(expires=self.now + timedelta(days=180)))
        self.snapshot = Metadata(Snapshot(expires=self.now + timedelta(days=30)))
        self.timestamp = Metadata(Timestamp(expires=self.now + timedelta(days=14)))
        self.sign("root", "root0", "root1")
        self.set_operators(operator("anna", "install", "rollback", "cancel", "pin", "unpin", "status"))
        self.add_release(manifest())

    @property
    def first_root(self) -> bytes:
        return self.signed["1.root.json"]

    def set_operators(self, *operators: dict[str, Any], threshold: int = 1) -> None:
        """Publish a list of operators."""
        self.add(OPERATORS_PATH, {"v": 1, "threshold": threshold, "operators": list(operators)}, None)

    def add_release(self, content: dict[str, Any], **custom: Any) -> str:
        """Publish a release; the path of its manifest."""
        path = f"releases/{content['model']['name']}/{content['model']['version']}.json"
        self.add(path, content, {"version": content["model"]["version"], **custom})
        return path

    def add(self, path: str, content: dict[str, Any], custom: dict[str, Any] | None) -> None:
        """Put a small target in and publish."""
        self.contents[path] = json.dumps(content, separators=(",", ":")).encode()
        target = TargetFile.from_data(path, self.contents[path], ["sha256"])
        if custom is not None:
            target.unrecognized_fields["custom"] = custom
        self.targets.signed.targets[path] = target
        self.publish()

    def publish(self) -> None:
        """Sign new versions of targets, snapshot and timestamp."""
        for role in (self.targets, self.snapshot, self.timestamp):
            role.signed.version += 1
        self.snapshot.signed.meta["targets.json"] = MetaFile(self.targets.signed.version)
        self.timestamp.signed.snapshot_meta = MetaFile(self.snapshot.signed.version)
        self.sign("targets", "targets0", "targets1")
        self.sign("snapshot", "online")
        self.sign("timestamp", "online")

    def sign(self, role: str, *signers: str) -> None:
        """Sign a role's metadata as it stands, by these keys."""
        metadata: Metadata[Any] = getattr(self, role)
        metadata.signatures.clear()
        for name in signers:
            metadata.sign(key(name), append=True)
        self.signed[self.file_of(role)] = metadata.to_bytes(_COMPACT)

    def rotate_root(self, *signers: str) -> None:
        """A new version of the root, signed by these keys."""
        self.root.signed.version += 1
        self.sign("root", *signers)

    def file_of(self, role: str) -> str:
        """The name of a role's current file."""
        if role == "timestamp":
            return "timestamp.json"
        return f"{getattr(self, role).signed.version}.{role}.json"

    @property
    def files(self) -> dict[str, bytes]:
        """What rides in a message: current metadata, every root but the first, operators and manifests."""
        current = {self.file_of(role): self.signed[self.file_of(role)] for role in ROLES}
        roots = {name: content for name, content in self.signed.items() if name.endswith(".root.json")}
        del roots["1.root.json"]
        return {**current, **roots, **self.contents}

    def command(self, **changes: Any) -> dict[str, Any]:
        """A command that installs release 7 on all devices; `changes` replace keys, None takes them out."""
        path = "releases/person/7.json"
        command = {
            "v": 1,
            "id": "c-1",
            "seq": 10,
            "iat": int(NOW_S) - 60,
            "exp": int(NOW_S) + 3600,
            "aud": {"all": True},
            "op": "install",
            "release": {"path": path, "sha256": sha256(self.contents[path]).hexdigest()},
            **changes,
        }
        return {name: value for name, value in command.items() if value is not None}

    def write(self, folder: Path) -> None:
        """The repository as files: `metadata/` and `targets/`."""
        for name, content in {**self.signed, **self.contents}.items():
            path = folder / ("targets" if "/" in name else "metadata") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def message(self, *signers: str, files: dict[str, bytes] | None = None, **changes: Any) -> bytes:
        """A published message: the command signed by these operators (anna by default)."""
        return pack(seal(self.command(**changes), *(signers or ("anna",))), self.files if files is None else files)


def seal(command: dict[str, Any] | bytes, *signers: str) -> dict[str, Any]:
    """The DSSE envelope of a command."""
    payload = command if isinstance(command, bytes) else json.dumps(command, separators=(",", ":")).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    for name in signers:
        envelope.sign(key(name))
    return dict(envelope.to_dict())


def pack(envelope: dict[str, Any], files: dict[str, bytes]) -> bytes:
    """A message."""
    texts = {name: content.decode("utf-8", "replace") for name, content in files.items()}
    return json.dumps({"v": 1, "command": envelope, "files": texts}, separators=(",", ":")).encode()
