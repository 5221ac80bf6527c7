"""Metadata and small targets in one retained message: read strictly, fetched once, and never mistaken for a consent."""

from __future__ import annotations

import json
import zlib

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from edgeapp.updates.broker_files import BrokerFiles, read_files
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.fetchers import METADATA_URL, TARGETS_URL

CONTENT = json.dumps({"v": 1, "files": {"timestamp.json": "{}", "sites/acme.json": "ä"}}).encode()


class Link:
    """A broker that retains one message, or none."""

    def __init__(self, retained: bytes | None) -> None:
        self.retained, self.asked, self.closed = retained, list[str](), 0

    def ask(self, topic: str) -> None:
        self.asked.append(topic)

    def unask(self, topic: str) -> None:
        raise AssertionError("the link is closed instead")

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        return None if self.retained is None else (self.asked[-1], self.retained)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("content", [CONTENT, zlib.compress(CONTENT)])
def test_all_files_come_of_one_message(content: bytes) -> None:
    link = Link(content)
    files = BrokerFiles(lambda: link, "edgeapp/v1/acme/_all/sites")
    assert files.download_bytes(f"{METADATA_URL}timestamp.json", 100) == b"{}"
    assert files.download_bytes(f"{TARGETS_URL}sites/acme.json", 100) == "ä".encode()
    with pytest.raises(DownloadHTTPError):
        files.download_bytes(f"{METADATA_URL}2.root.json", 100)
    assert (link.asked, link.closed) == (["edgeapp/v1/acme/_all/sites"], 1)


@pytest.mark.parametrize(
    "retained",
    [None, b"", b"{", b"x\x9c", zlib.compress(b" " * 70_000), b'{"v":2,"files":{}}', b'{"v":1,"files":{"a":1}}', b"[]"],
)
def test_what_is_no_such_message_says_nothing_of_a_consent(retained: bytes | None) -> None:
    link = Link(retained)
    with pytest.raises(DownloadError) as caught:
        BrokerFiles(lambda: link, "t").download_bytes(f"{METADATA_URL}timestamp.json", 100)
    assert not isinstance(caught.value, DownloadHTTPError)
    assert link.closed == 1


def test_a_broker_that_is_away_is_trouble_of_the_net() -> None:
    def connect() -> Link:
        raise UpdateError(Code.E_NET, "refused")

    with pytest.raises(DownloadError, match="refused"):
        BrokerFiles(connect, "t").download_bytes(f"{METADATA_URL}timestamp.json", 100)


def test_a_message_that_is_too_long_is_refused() -> None:
    long = json.dumps({"v": 1, "files": {"a": "b" * 70_000}}).encode()
    with pytest.raises(UpdateError) as caught:
        read_files(zlib.compress(long))
    assert caught.value.reason.code is Code.E_TOO_BIG
