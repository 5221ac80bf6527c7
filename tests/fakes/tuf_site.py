"""A TUF repository on a web server of its own, in any state that a case needs, and the client that is tried on it.

Made of python-tuf's metadata classes and the standard library, none of edgeapp's; the client is `edgeapp-workshop
tuf-client`, called through its command line.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256, sha512
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from edgeapp.workshop.cli import main

TOP = ("root", "timestamp", "snapshot", "targets")
_SERIALIZER = JSONSerializer(compact=True)


def later(days: float) -> datetime:
    """So many days from now, whole seconds."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=days)


class Site:
    """The repository. Change `metadata`, `signers` and `blobs`, then `publish` what is to be served.

    `served` has the content of each path, as it is asked for; `asked` the paths in order.
    """

    def __init__(self, *, is_consistent: bool = True) -> None:
        self.served: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.fails: dict[str, int] = {}  # paths that are answered with a status
        self.has_hashes = False  # of metadata in snapshot and timestamp
        self.signers: dict[str, list[CryptoSigner]] = {role: [] for role in TOP}
        root = Root(expires=later(365), consistent_snapshot=is_consistent)
        self.metadata: dict[str, Metadata[Any]] = {
            "root": Metadata(root),
            "timestamp": Metadata(Timestamp(expires=later(14))),
            "snapshot": Metadata(Snapshot(expires=later(30))),
            "targets": Metadata(Targets(expires=later(180))),
        }
        for role in TOP:
            self.add_key(role)
        self.publish(*TOP, is_new=False)

    @property
    def root(self) -> Root:
        root: Root = self.metadata["root"].signed
        return root

    def signed(self, role: str) -> Any:
        """What a role's metadata says."""
        return self.metadata[role].signed

    def add_key(self, role: str, signer: CryptoSigner | None = None) -> CryptoSigner:
        """One more key for a role, which signs from now on; the root says so once it is published."""
        signer = signer or CryptoSigner.generate_ed25519()
        self.signers[role].append(signer)
        self.root.add_key(signer.public_key, role)
        return signer

    def replace_keys(self, role: str, *signers: CryptoSigner, threshold: int = 1) -> None:
        """Other keys for a role, and nobody else's; without any, a new one."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        self.signers[role] = []
        for signer in signers or (CryptoSigner.generate_ed25519(),):
            self.add_key(role, signer)
        self.root.roles[role].threshold = threshold

    def delegate(self, parent: str, role: DelegatedRole, files: dict[str, bytes] | None = None) -> None:
        """Let `parent` delegate to `role`, which has a key and these files."""
        name, signer = role.name, CryptoSigner.generate_ed25519()
        if name not in self.metadata:
            self.metadata[name] = Metadata(Targets(expires=later(30)))
            self.signers[name] = [signer]
        above: Targets = self.signed(parent)
        above.delegations = above.delegations or Delegations({}, roles={})
        assert above.delegations.roles is not None
        above.delegations.roles[name] = role
        for each in self.signers[name]:
            above.add_key(each.public_key, name)
        for path, content in (files or {}).items():
            self.add_file(name, path, content)

    def add_file(self, role: str, path: str, content: bytes) -> TargetFile:
        """A target of a role, served under its hash where the root says so."""
        target = TargetFile.from_data(path, content, ["sha256"])
        self.signed(role).targets[path] = target
        self.serve_file(path, content, content)
        return target

    def serve_file(self, path: str, signed: bytes, content: bytes) -> None:
        """Serve `content` where a client looks for a file that was signed as `signed`."""
        folder, slash, name = path.rpartition("/")
        prefix = f"{sha256(signed).hexdigest()}." if self.root.consistent_snapshot else ""
        self.served[f"targets/{folder}{slash}{prefix}{name}"] = content

    def publish(self, *roles: str, is_new: bool = True) -> None:
        """Sign and serve these roles, with a version more where it `is_new`; then what lists them is told."""
        for role in roles:
            self.signed(role).version += is_new
            if role not in ("root", "timestamp", "snapshot"):
                self.signed("snapshot").meta[f"{role}.json"] = self._meta(role)
            if role == "snapshot":
                self.signed("timestamp").snapshot_meta = self._meta(role)
            self.serve(role)

    def release(self, *roles: str) -> None:
        """`publish` these and all that stands above them but the root."""
        self.publish(*roles, "snapshot", "timestamp")

    def serve(self, role: str) -> bytes:
        """Sign a role as it stands, and serve it under its version."""
        content = self.sign(role)
        self.served[self.path_of(role)] = content
        return content

    def sign(self, role: str) -> bytes:
        """The bytes of a role as it stands, signed by its signers."""
        metadata = self.metadata[role]
        metadata.signatures.clear()
        for signer in self.signers[role]:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(_SERIALIZER)

    def path_of(self, role: str) -> str:
        """Where a role's current metadata is looked for."""
        name, is_versioned = quote(role, ""), role == "root" or self.root.consistent_snapshot
        version = f"{self.signed(role).version}." if is_versioned and role != "timestamp" else ""
        return f"metadata/{version}{name}.json"

    def _meta(self, role: str) -> MetaFile:
        if not self.has_hashes:
            return MetaFile(self.signed(role).version)
        content = self.sign(role)
        return MetaFile(self.signed(role).version, len(content), {"sha512": sha512(content).hexdigest()})


class Client:
    """The client with its folders. Each call is one command, and returns its exit status."""

    def __init__(self, folder: Path, site: Site, address: str) -> None:
        self._folder, self.site, self._address = folder, site, address
        self.metadata = folder / "metadata"
        self.metadata.mkdir()

    def init(self, root: bytes | None = None) -> int:
        path = self._folder / "first_root.json"
        path.write_bytes(self.site.served["metadata/1.root.json"] if root is None else root)
        return self._run("init", str(path))

    def refresh(self) -> int:
        return self._run("--metadata-url", f"{self._address}/metadata", "refresh")

    def download(self, name: str) -> int:
        urls = ["--metadata-url", f"{self._address}/metadata", "--target-base-url", f"{self._address}/targets"]
        return self._run(*urls, "--target-name", name, "--target-dir", str(self._folder / "got"), "download")

    def versions(self) -> dict[str, int]:
        """What it trusts: the versions of the metadata that it keeps."""
        paths = {role: self.metadata / f"{role}.json" for role in TOP}
        return {role: Metadata.from_file(str(path)).signed.version for role, path in paths.items() if path.is_file()}

    def got(self) -> list[bytes]:
        """The files that it has downloaded."""
        return sorted(path.read_bytes() for path in (self._folder / "got").rglob("*") if path.is_file())

    def written_elsewhere(self) -> list[Path]:
        """What lies where it has no business."""
        known = {"first_root.json", "metadata", "got"}
        return [path for path in self._folder.iterdir() if path.name not in known]

    def _run(self, *words: str) -> int:
        with contextlib.redirect_stderr(io.StringIO()):
            return main(["tuf-client", "--metadata-dir", str(self.metadata), *words])


@contextlib.contextmanager
def serving(site: Site) -> Iterator[str]:
    """The site on a web server; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            site.asked.append(path)
            content = site.served.get(path)
            self.send_response(site.fails.get(path, 404 if content is None else 200))
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
