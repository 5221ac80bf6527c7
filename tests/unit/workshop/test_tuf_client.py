"""The command line that tuf-conformance drives: exit status 0 for success, 1 for any failure."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgeapp.workshop.cli import main
from tests.fakes.releases import Repository

TARGET = "releases/person/7.json"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def repository() -> Repository:
    return Repository(now=datetime.now(UTC))


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Client:
    """The command, with the folders that the suite gives it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self._address = folder, address
        (folder / "metadata").mkdir()

    def init(self, root: bytes) -> int:
        (self.folder / "initial_root.json").write_bytes(root)
        return self._run("init", str(self.folder / "initial_root.json"))

    def refresh(self) -> int:
        return self._run("--metadata-url", f"{self._address}/metadata", "refresh")

    def download(self, name: str) -> int:
        urls = ["--metadata-url", f"{self._address}/metadata", "--target-base-url", f"{self._address}/targets"]
        return self._run(*urls, "--target-name", name, "--target-dir", str(self.folder / "got"), "download")

    def _run(self, *arguments: str) -> int:
        return main(["tuf-client", "--metadata-dir", str(self.folder / "metadata"), *arguments])


@pytest.fixture
def client(tmp_path: Path, address: str) -> Client:
    return Client(tmp_path, address)


def write(repository: Repository, www: Path) -> None:
    """As a consistent snapshot wants it: each target under its hash too."""
    repository.write(www)
    for path, target in repository.targets.signed.targets.items():
        folder, _, name = path.rpartition("/")
        (www / "targets" / folder / f"{target.hashes['sha256']}.{name}").write_bytes(repository.contents[path])


def test_target_is_downloaded_and_kept(client: Client, repository: Repository, tmp_path: Path) -> None:
    write(repository, tmp_path / "www")
    assert client.init(repository.first_root) == 0
    assert client.refresh() == 0
    assert sorted(path.name for path in (tmp_path / "metadata").glob("*.json")) == [
        "root.json",
        "snapshot.json",
        "targets.json",
        "timestamp.json",
    ]
    assert client.download(TARGET) == 0
    assert [path.read_bytes() for path in (tmp_path / "got").iterdir()] == [repository.contents[TARGET]]
    for served in (tmp_path / "www" / "targets").rglob("*.json"):
        served.write_bytes(b"altered")
    assert client.download(TARGET) == 0  # it is here already
    assert client.download("nothing") == 1


def test_altered_target_is_not_kept(client: Client, repository: Repository, tmp_path: Path) -> None:
    write(repository, tmp_path / "www")
    for served in (tmp_path / "www" / "targets").rglob("*.json"):
        served.write_bytes(served.read_bytes()[:-1] + b" ")
    assert client.init(repository.first_root) == 0
    assert client.download(TARGET) == 1
    assert not list(tmp_path.glob("got/*"))


def test_metadata_that_falls_back_is_refused(client: Client, repository: Repository, tmp_path: Path) -> None:
    write(repository, tmp_path / "www")
    stale = repository.files["timestamp.json"]
    repository.publish()
    write(repository, tmp_path / "www")
    assert client.init(repository.first_root) == 0
    assert client.refresh() == 0
    (tmp_path / "www" / "metadata" / "timestamp.json").write_bytes(stale)
    assert client.refresh() == 1


def test_first_root_is_believed_and_not_what_lies_beside_the_metadata(
    client: Client, repository: Repository, tmp_path: Path
) -> None:
    write(repository, tmp_path / "www")
    assert client.init(repository.first_root) == 0
    (tmp_path / "metadata" / "root.json").write_bytes(b"{}")
    assert client.refresh() == 0


def test_missing_option_is_named(client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tuf-client", "--metadata-dir", str(tmp_path / "metadata"), "refresh"])
    assert "refresh needs --metadata-url" in capsys.readouterr().err
