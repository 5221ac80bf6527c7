"""TUF metadata and small targets from one message that a broker retains, for devices that reach nothing but the broker.

Owns the form of the message: JSON, packed with zlib or not, at most 64 KiB, as commands are. It is looked for when the
first file is asked for. What it brings is not trusted; `metadata.py` verifies it like any other repository.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tuf.api.exceptions import DownloadError
from tuf.ngclient.fetcher import FetcherInterface

from edgeapp.updates.codes import UpdateError
from edgeapp.updates.command import read_document, unpacked
from edgeapp.updates.fetchers import CarriedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgeapp.updates.sources import Blocks

_WAIT_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesDocument:
    """What is retained: files by name, as text."""

    v: Literal[1]
    files: dict[str, str] = field(default_factory=dict)


def read_files(content: bytes) -> dict[str, bytes]:
    """The files of a retained message.

    Raises:
        UpdateError: E_TOO_BIG or E_PARSE.
    """
    document = read_document(FilesDocument, unpacked(content), "message")
    return {name: text.encode() for name, text in document.files.items()}


class BrokerFiles(FetcherInterface):
    """The files of the message at `topic`. The message is fetched once for each object."""

    def __init__(self, connect: Callable[[], Blocks], topic: str) -> None:
        """`connect` makes a link for one message, or raises UpdateError (E_NET)."""
        self._connect, self._topic = connect, topic
        self._files: CarriedFiles | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        if self._files is None:
            self._files = CarriedFiles(self._read())
        return self._files.fetch(url)

    def _read(self) -> dict[str, bytes]:
        try:
            link = self._connect()
            try:
                link.ask(self._topic)
                message = link.receive(_WAIT_S)
            finally:
                link.close()
            if message is None:
                raise DownloadError(f"{self._topic}: expected a retained message, found none in {_WAIT_S:.0f} s")
            return read_files(message[1])
        except UpdateError as error:
            raise DownloadError(f"{self._topic}: {error}") from error
