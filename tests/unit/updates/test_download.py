"""Files of a release reach the device whole or not at all, whatever the way does to them."""

from __future__ import annotations

import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeapp.system.backoff import Backoff
from edgeapp.updates import download as downloading
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.download import Blob, Source, download
from edgeapp.updates.sources import BLOCK_BYTES, Blocks, BrokerSource, FolderSource, HttpSource
from tests.fakes import web
from tests.fakes.web import WebServer

CONTENT = random.Random(7).randbytes(5 * BLOCK_BYTES + 1234)
BLOB = Blob(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "Backoff", lambda first_s, max_s, draw: Backoff(0.01, 0.02, draw))


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / BLOB.sha256).write_bytes(CONTENT)
    return folder


def fetch(path: Path, *sources: Source, seconds: float = 20.0, blob: Blob = BLOB, **more: object) -> bool:
    deadline_s = time.monotonic() + seconds
    return download(blob, sources, path, deadline_s=deadline_s, stop=threading.Event(), **more)  # type: ignore[arg-type]


class RetainedBlocks:
    """A link to a broker that retains `content`'s blocks, and answers in the order that `shuffle` makes of it."""

    def __init__(self, content: bytes = CONTENT, *, lost: frozenset[int] = frozenset(), draw: int = 0) -> None:
        self._content, self._lost, self._random = content, lost, random.Random(draw)
        self._coming: list[tuple[str, bytes]] = []
        self.asked: list[int] = []
        self.open: set[str] = set()
        self.most_open = 0

    def ask(self, topic: str) -> None:
        number = int(topic.rpartition("/")[2])
        self.asked.append(number)
        self.open.add(topic)
        self.most_open = max(self.most_open, len(self.open))
        if number not in self._lost:
            self._coming.append((topic, self._content[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]))
            self._coming.append(self._coming[-1])  # at least once
        self._random.shuffle(self._coming)

    def unask(self, topic: str) -> None:
        self.open.discard(topic)

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        return self._coming.pop() if self._coming else None

    def close(self) -> None:
        self.open.clear()


@pytest.mark.parametrize("kind", ["web", "folder", "broker"])
@pytest.mark.parametrize("present", [0, 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 17, len(CONTENT)])
def test_every_source_completes_whatever_part_is_there(kind: str, present: int, served: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:present])
    with WebServer(served) as server:
        sources = {
            "web": HttpSource(server.url),
            "folder": FolderSource(served),
            "broker": BrokerSource(RetainedBlocks, "t", "broker"),
        }
        assert fetch(part, sources[kind])
        if kind == "web":
            assert server.offsets == ([present] if present < len(CONTENT) else []), "only the rest is asked for"
    assert part.read_bytes() == CONTENT


def test_a_transfer_cut_at_every_block_is_completed_by_asking_for_the_rest_each_time(
    served: Path, tmp_path: Path
) -> None:
    with WebServer(served, web.cut_after(BLOCK_BYTES)) as server:
        assert fetch(tmp_path / "part", HttpSource(server.url))
        assert server.offsets == [number * BLOCK_BYTES for number in range(6)]
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_server_that_ignores_range_costs_traffic_and_nothing_else(served: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(CONTENT[:100_000])
    with WebServer(served, web.ignoring_range) as server:
        assert fetch(part, HttpSource(server.url))
    assert part.read_bytes() == CONTENT


WRONG: dict[str, tuple[web.Behaviour, str]] = {
    "other bytes": (web.changed, "E_HASH"),
    "no end": (web.endless, "E_LENGTH"),
    "another length told": (lambda handler, content, offset: handler.answer(content + b"x", offset=0), "E_LENGTH"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_the_signed_file_is_refused_and_never_outgrows_it(name: str, served: Path, tmp_path: Path) -> None:
    behaviour, code = WRONG[name]
    part = tmp_path / "part"
    with WebServer(served, behaviour) as server, pytest.raises(UpdateError) as caught:
        fetch(part, HttpSource(server.url))
    assert caught.value.code == code
    assert part.stat().st_size <= BLOB.length


UNUSABLE: dict[str, tuple[web.Behaviour, str]] = {
    "not there": (web.status(404), "status 200 or 206, found 404"),
    "broken": (web.status(503), "found 503"),
    "hangs up": (web.cut_after(0), "bytes early"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_trouble_on_the_way_is_tried_again_until_the_deadline_and_then_told(
    name: str, served: Path, tmp_path: Path
) -> None:
    behaviour, words = UNUSABLE[name]
    with WebServer(served, behaviour) as server, pytest.raises(UpdateError, match=words) as caught:
        fetch(tmp_path / "part", HttpSource(server.url), seconds=0.3)
    assert caught.value.code == "E_DEADLINE"
    assert len(server.offsets) > 1


def test_a_wrong_piece_from_one_source_does_not_spoil_the_file_of_another(served: Path, tmp_path: Path) -> None:
    """The first gives a wrong half and breaks off, each time."""

    def wrong_half(handler: web.Handler, content: bytes, offset: int) -> None:
        handler.answer(bytes(BLOCK_BYTES), offset=offset, length=len(content) - offset, total=len(content))
        handler.close_connection = True

    with WebServer(served, wrong_half) as server:
        assert fetch(tmp_path / "part", HttpSource(server.url), FolderSource(served))
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_sources_are_asked_in_their_order(served: Path, tmp_path: Path) -> None:
    with WebServer(served, web.status(404)) as first, WebServer(served) as second, WebServer(served) as third:
        assert fetch(tmp_path / "part", *(HttpSource(server.url) for server in (first, second, third)))
        assert [len(server.offsets) for server in (first, second, third)] == [1, 1, 0]


def test_a_server_that_drips_is_given_up(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloading, "_SLOW_S", 0.2)
    with WebServer(served, web.dripping) as slow:
        assert fetch(tmp_path / "part", HttpSource(slow.url), FolderSource(served))
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_stop_keeps_what_came_for_the_next_try(served: Path, tmp_path: Path) -> None:
    part, stop = tmp_path / "part", threading.Event()
    came: list[int] = []

    def on_progress(length: int) -> None:
        came.append(length)
        stop.set()

    deadline_s = time.monotonic() + 20
    source = FolderSource(served)
    assert not download(BLOB, [source], part, deadline_s=deadline_s, stop=stop, on_progress=on_progress)
    assert came == [part.stat().st_size]
    assert CONTENT.startswith(part.read_bytes())


def test_no_source_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="expected a source") as caught:
        fetch(tmp_path / "part")
    assert caught.value.code == "E_NET"


def test_a_file_that_cannot_fit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(UpdateError, match="bytes free") as caught:
        fetch(tmp_path / "part", FolderSource(tmp_path), blob=Blob("0" * 64, 1 << 60))
    assert caught.value.code == "E_SPACE"
    assert not (tmp_path / "part").exists()


def test_a_planted_link_is_not_written_through(served: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "part").symlink_to(victim)
    with pytest.raises(UpdateError) as caught:
        fetch(tmp_path / "part", FolderSource(served))
    assert caught.value.code == "E_IO"
    assert victim.read_bytes() == b"precious"


def test_a_fifo_on_the_stick_does_not_hold_anything(served: Path, tmp_path: Path) -> None:
    blob = served / "blobs" / BLOB.sha256
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(UpdateError, match="expected a file"):
        fetch(tmp_path / "part", FolderSource(served), seconds=0.2)


@pytest.mark.parametrize("draw", range(5))
def test_blocks_are_asked_for_a_few_at_a_time_and_put_in_order(draw: int, tmp_path: Path) -> None:
    link = RetainedBlocks(draw=draw)
    assert fetch(tmp_path / "part", BrokerSource(lambda: link, "t", "broker"))
    assert link.asked == list(range(6))
    assert link.most_open <= 4
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_block_that_the_broker_lost_is_had_from_elsewhere(served: Path, tmp_path: Path) -> None:
    def lossy() -> Blocks:
        return RetainedBlocks(lost=frozenset({3}))

    came: list[int] = []
    sources = BrokerSource(lossy, "t", "broker"), FolderSource(served)
    assert fetch(tmp_path / "part", *sources, on_progress=came.append)
    assert 3 * BLOCK_BYTES in came, "the blocks before the lost one were taken"
    assert (tmp_path / "part").read_bytes() == CONTENT


class Torn:
    """Gives everything in chunks of `size`, with one byte wrong at `wrong_at`."""

    name = "torn"

    def __init__(self, size: int, wrong_at: int) -> None:
        self._size, self._wrong_at = size, wrong_at

    def chunks(self, blob: Blob, start: int) -> Iterator[tuple[int, bytes]]:
        content = bytearray(CONTENT)
        content[self._wrong_at] ^= 0x80
        for offset in range(start, len(content), self._size):
            yield offset, bytes(content[offset : offset + self._size])


@pytest.mark.parametrize("where", [0, BLOCK_BYTES, len(CONTENT) - 1])
def test_a_single_wrong_byte_anywhere_is_found(where: int, tmp_path: Path) -> None:
    with pytest.raises(UpdateError) as caught:
        fetch(tmp_path / "part", Torn(10_000, where))
    assert caught.value.code == "E_HASH"
    assert (tmp_path / "part").read_bytes() == b"", "nothing of it is gone on with"


def disk_fault(error: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    return fail


def test_a_disk_that_fails_at_the_sync_is_told_with_the_file_kept(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading.os, "fsync", disk_fault(5))
    with pytest.raises(UpdateError, match="Input/output error") as caught:
        fetch(tmp_path / "part", FolderSource(served))
    assert caught.value.code == "E_IO"
    assert (tmp_path / "part").read_bytes() == CONTENT
