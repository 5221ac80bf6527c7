"""Where blobs come from: a web server or bucket, blocks that an MQTT broker retains, a folder (USB stick).

Owns the three backends. Nothing here is believed: `download.py` bounds, counts and verifies. A blob's name is its
SHA-256, so a server's word on whether its content changed (ETag) is not needed to go on where a transfer stopped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from edgeapp.system.timed_http import Answer
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.download import Blob
from edgeapp.updates.web import get

BLOCK_BYTES = 64 * 1024  # of a blob that an MQTT broker retains, all but the last
_CHUNK_BYTES = 64 * 1024
_WAIT_S = 20.0
_WINDOW = 4  # blocks asked for at once: enough to fill a link of 100 ms and 2 MB/s, small enough for any broker's queue


class HttpSource:
    """`<base>/blobs/<sha256>` on any web server or bucket. Goes on in the middle where the server knows Range."""

    def __init__(self, base_url: str) -> None:
        self._base = base_url.rstrip("/")
        scheme, _, rest = base_url.partition("://")
        self.name = f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"

    def chunks(self, blob: Blob, start: int) -> Iterator[tuple[int, bytes]]:
        with get(f"{self._base}/blobs/{blob.sha256}", start=start) as answer:
            offset = _first_byte(answer, blob, start)
            for chunk in answer.chunks:
                yield offset, chunk
                offset += len(chunk)


def _first_byte(answer: Answer, blob: Blob, start: int) -> int:
    """Which byte of the blob the answer begins with.

    Raises:
        UpdateError: E_HTTP or E_LENGTH: it is no answer to what was asked.
    """
    if answer.status == 200:  # a server that knows no Range begins anew
        length = answer.headers.get("Content-Length")
        if length is not None and length != str(blob.length):
            raise UpdateError(Code.E_LENGTH, f"expected {blob.length} bytes as signed, the server has {length:.20}")
        return 0
    if answer.status != 206:
        raise UpdateError(Code.E_HTTP, f"expected status 200 or 206, found {answer.status}")
    content_range = answer.headers.get("Content-Range", "")
    if content_range != f"bytes {start}-{blob.length - 1}/{blob.length}":
        raise UpdateError(
            Code.E_HTTP, f"expected bytes {start} to the end of {blob.length}, found {content_range[:60]!r}"
        )
    return start


class FolderSource:
    """`<folder>/blobs/<sha256>`, on a USB stick for instance."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.name = str(folder)

    def chunks(self, blob: Blob, start: int) -> Iterator[tuple[int, bytes]]:
        path = self._folder / "blobs" / blob.sha256
        try:
            # O_NONBLOCK: opening a planted FIFO must not wait for its writer.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb", buffering=0) as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode):
                    raise UpdateError(Code.E_NET, f"{path}: expected a file, found something else")
                if found.st_size != blob.length:
                    raise UpdateError(
                        Code.E_LENGTH, f"{path}: expected {blob.length} bytes as signed, found {found.st_size}"
                    )
                file.seek(start)
                while chunk := file.read(_CHUNK_BYTES):
                    yield start, chunk
                    start += len(chunk)
        except OSError as error:
            raise UpdateError(Code.E_NET, f"{path}: {error.strerror or error}") from error


class Blocks(Protocol):
    """A link to a broker on which retained messages can be asked for, one by one."""

    def ask(self, topic: str) -> None:
        """Subscribe. The broker then sends what it retains there."""
        ...

    def unask(self, topic: str) -> None:
        """Unsubscribe."""
        ...

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        """The next message as (topic, payload); None when there was none in time.

        Raises:
            UpdateError: E_NET: the link is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the link."""
        ...


class BrokerSource:
    """`<prefix>/blobs/<sha256>/<n>`: blocks of 64 KiB that a broker retains.

    A device asks for a few blocks at a time. So nothing is pushed at a device that is away or slow: brokers drop
    silently what their queue for it cannot hold.
    """

    def __init__(self, connect: Callable[[], Blocks], prefix: str, name: str) -> None:
        """`connect` makes a link for one transfer, or raises UpdateError (E_NET)."""
        self._connect = connect
        self._prefix = prefix
        self.name = name

    def chunks(self, blob: Blob, start: int) -> Iterator[tuple[int, bytes]]:
        link = self._connect()
        try:
            yield from self._in_order(link, blob, start // BLOCK_BYTES)
        finally:
            link.close()

    def _in_order(self, link: Blocks, blob: Blob, first: int) -> Iterator[tuple[int, bytes]]:
        count = -(-blob.length // BLOCK_BYTES)
        asked = first
        early: dict[int, bytes] = {}  # what came before its turn
        for number in range(first, count):
            while asked < min(number + _WINDOW, count):
                link.ask(self._topic(blob, asked))
                asked += 1
            while number not in early:
                early |= self._receive(link, blob, range(number, asked))
            link.unask(self._topic(blob, number))
            yield number * BLOCK_BYTES, early.pop(number)

    def _receive(self, link: Blocks, blob: Blob, wanted: range) -> dict[int, bytes]:
        """One message: a wanted block, or nothing where it was a double of one that had come."""
        message = link.receive(_WAIT_S)
        if message is None:
            raise UpdateError(Code.E_NET, f"block {wanted.start}: the broker retains none, or is gone")
        topic, payload = message
        for number in wanted:
            if topic == self._topic(blob, number):
                expected = min(BLOCK_BYTES, blob.length - number * BLOCK_BYTES)
                if len(payload) != expected:
                    raise UpdateError(Code.E_LENGTH, f"block {number}: expected {expected} bytes, found {len(payload)}")
                return {number: payload}
        return {}

    def _topic(self, blob: Blob, number: int) -> str:
        return f"{self._prefix}/blobs/{blob.sha256}/{number}"
