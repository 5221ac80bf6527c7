"""Where TUF metadata and small targets come from: the message itself, a folder, or a web server.

Owns three fetchers for python-tuf and the time that one refresh may take on a web server; the bounds in size are
python-tuf's and the reader's. What they bring is not trusted. Files of a release are not fetched here: they are large,
and resumed after a cut.
"""

from __future__ import annotations

import http
import time
from typing import TYPE_CHECKING

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.web import get

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_OWN = "update:/"
METADATA_URL = f"{_OWN}metadata/"
TARGETS_URL = f"{_OWN}targets/"
_CHUNK_BYTES = 64 * 1024
_NOT_FOUND = int(http.HTTPStatus.NOT_FOUND)


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

    All the fetches of one object together end within `limit_s`, however slowly the server talks.
    """

    def __init__(self, base_url: str = "", limit_s: float = 60.0) -> None:
        self._base_url = base_url.rstrip("/") + "/"
        self._deadline_s = time.monotonic() + limit_s

    def _fetch(self, url: str) -> Iterator[bytes]:
        full = self._base_url + url.removeprefix(_OWN) if url.startswith(_OWN) else url
        try:
            with get(full, deadline_s=self._deadline_s) as answer:
                if answer.status != http.HTTPStatus.OK:
                    raise DownloadHTTPError(f"{full}: status {answer.status}", answer.status)
                yield from answer.chunks
        except UpdateError as error:
            raise _ERRORS.get(error.reason.code, DownloadError)(f"{full}: {error}") from error


_ERRORS = {Code.E_DEADLINE: SlowRetrievalError}


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise DownloadError(f"{path}: {error.strerror}") from error
