"""Where TUF metadata and small targets come from: the message itself, a folder, or a web server.

Owns three fetchers for python-tuf and their bounds in time; the bounds in size are python-tuf's and the reader's. What
they bring is not trusted. Files of a release are not fetched here: they are large, and resumed after a cut.
"""

from __future__ import annotations

import contextlib
import http
import http.client
import socket
import threading
import time
import urllib.parse
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_OWN = "update:/"
METADATA_URL = f"{_OWN}metadata/"
TARGETS_URL = f"{_OWN}targets/"
_CHUNK_BYTES = 64 * 1024
_NOT_FOUND = int(http.HTTPStatus.NOT_FOUND)
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~?"  # what stands in a path as it is


class CarriedFiles(FetcherInterface):
    """Files that came with a message, by name; what is not among them is asked of `other`, where there is one."""

    def __init__(self, files: Mapping[str, bytes], other: FetcherInterface | None = None) -> None:
        self._files = files
        self._other = other

    def _fetch(self, url: str) -> Iterator[bytes]:
        name = url.removeprefix(METADATA_URL).removeprefix(TARGETS_URL)
        if name in self._files:
            return iter([self._files[name]])
        if self._other is None:
            raise DownloadHTTPError(f"{name}: not in the message", _NOT_FOUND)
        return self._other.fetch(url)


class FolderFiles(FetcherInterface):
    """A repository in a local folder, as a USB stick brings it: `metadata/` and `targets/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix(_OWN)
        if not path.resolve().is_relative_to(self._folder.resolve()) or not path.is_file():
            raise DownloadHTTPError(f"{path}: expected a file of the repository, found none", _NOT_FOUND)
        return _chunks(path)


class WebFiles(FetcherInterface):
    """A repository on a web server, at `base_url`; an address that names its server itself is fetched as it is.

    All the fetches of one object together end within `limit_s`, however slowly the server talks. Redirections are not
    followed.
    """

    def __init__(self, base_url: str = "", limit_s: float = 60.0) -> None:
        self._base_url = base_url.rstrip("/") + "/"
        self._deadline_s = time.monotonic() + limit_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        full = self._base_url + url.removeprefix(_OWN) if url.startswith(_OWN) else url
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise SlowRetrievalError(f"{full}: no time left")
        connection, path = _connection(full, left_s)
        try:
            connection.connect()
            # A server that sends a byte now and then renews the time limit of each read, but not this one.
            with _hung_up_at(self._deadline_s, connection.sock):
                yield from _body(connection, path, full)
            if time.monotonic() >= self._deadline_s:
                raise TimeoutError("not complete in time")
        except (OSError, ValueError, http.client.HTTPException) as error:
            is_late = time.monotonic() >= self._deadline_s or isinstance(error, TimeoutError)
            kind = SlowRetrievalError if is_late else DownloadError
            raise kind(f"{full}: {error or type(error).__name__}") from error
        finally:
            connection.close()


@contextlib.contextmanager
def _hung_up_at(deadline_s: float, connected: socket.socket) -> Iterator[None]:
    """Ends whatever waits for the socket when the time is up."""

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    alarm = threading.Timer(deadline_s - time.monotonic(), hang_up)
    alarm.daemon = True
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()


def _connection(url: str, limit_s: float) -> tuple[http.client.HTTPConnection, str]:
    """A connection, not yet made, to the server of an address, and what to ask there."""
    address = urllib.parse.urlsplit(url)
    kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}.get(address.scheme)
    if kind is None or not address.hostname:
        raise DownloadError(f"{url}: expected an http or https address")
    path = urllib.parse.quote(address.path, safe=_PATH_CHARACTERS)
    query = f"?{urllib.parse.quote(address.query, safe=_PATH_CHARACTERS)}" if address.query else ""
    return kind(address.hostname, address.port, timeout=limit_s), path + query


def _body(connection: http.client.HTTPConnection, path: str, url: str) -> Iterator[bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        raise DownloadHTTPError(f"{url}: status {response.status}", response.status)
    while chunk := response.read1(_CHUNK_BYTES):
        yield chunk
    if response.length:
        raise ConnectionError(f"the answer ended {response.length} bytes early")


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error
