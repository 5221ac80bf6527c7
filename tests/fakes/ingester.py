"""A reader as docs/messages.md asks for: it acknowledges after its database has committed, and reports gaps.

Speaks MQTT 3.1.1 by itself, over TCP or a Unix socket, with a persistent session and QoS 1. It goes on reading when
writing fails, so that what reached its socket before a broker's death is still read; client libraries close it then.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.fakes import packets

Identity = tuple[str, str, int]
_RETRY_S = 0.02
_KEEP_SESSION = 0
_T = TypeVar("_T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS report (device TEXT, boot TEXT, seq INTEGER, lost INTEGER, PRIMARY KEY (device, boot, seq));
CREATE TABLE IF NOT EXISTS gap (device TEXT, seq INTEGER, PRIMARY KEY (device, seq));
"""


class Ingester:
    """Use as a context: it reads inside of it. Its database is in `folder`."""

    def __init__(self, folder: Path, address: tuple[str, int] | str) -> None:
        """`address`: host and port, or the path of a Unix socket."""
        self._path = folder / "ingested.db"
        self._address = address
        self._news = threading.Condition()
        self._may_connect = threading.Event()
        self._may_connect.set()
        self._is_ended = False
        self._link: socket.socket | None = None
        self._subscriptions = self._received = self._duplicates = 0
        self._thread = threading.Thread(target=self._run, name="ingester", daemon=True)

    def __enter__(self) -> Ingester:
        self._thread.start()
        self.wait_subscribed(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended = True
        self._hang_up()
        self._thread.join()

    @property
    def subscriptions(self) -> int:
        """How often a broker has confirmed the subscription."""
        return self._subscriptions

    @property
    def received(self) -> int:
        """How many reports came, doubles included."""
        return self._received

    @property
    def duplicates(self) -> int:
        """How many of them had come before."""
        return self._duplicates

    def identities(self) -> set[Identity]:
        return self._ask("SELECT device, boot, seq FROM report")

    def gaps(self) -> set[tuple[str, int]]:
        """What it reports as missing now: device and number."""
        return self._ask("SELECT device, seq FROM gap")

    def lost(self) -> int:
        """The highest count of dropped reports that a device has told."""
        counts: set[tuple[int]] = self._ask("SELECT lost FROM report")
        return max(count for (count,) in counts)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Hang up, and call again only afterwards."""
        self._may_connect.clear()
        self._hang_up()
        with self._news:
            self._news.wait_for(lambda: self._link is None)
        yield
        self._may_connect.set()

    def _hang_up(self) -> None:
        link = self._link
        if link is not None:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def wait_subscribed(self, times: int, timeout_s: float = 60.0) -> None:
        """Wait until the subscription has been confirmed for the `times`-th time."""
        self.wait(lambda: self._subscriptions >= times, f"subscription {times}", timeout_s)

    def wait(self, is_so: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait until something that arrivals change is so.

        Raises:
            AssertionError: it did not become so in time.
        """
        with self._news:
            assert self._news.wait_for(is_so, timeout_s), f"the ingester waited {timeout_s:g} s for {what}"

    def _ask(self, query: str) -> set[_T]:
        connection = sqlite3.connect(self._path, timeout=10)
        try:
            return set(connection.execute(query))
        finally:
            connection.close()

    def _run(self) -> None:
        database = sqlite3.connect(self._path, timeout=10)
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_SCHEMA)
        while not self._is_ended:
            with suppress(OSError), self._connect() as self._link:
                self._read(self._link, database)
            with self._news:
                self._link = None
                self._news.notify_all()
            time.sleep(_RETRY_S)
            self._may_connect.wait()
        database.close()

    def _connect(self) -> socket.socket:
        if isinstance(self._address, str):
            link = socket.socket(socket.AF_UNIX)
            link.connect(self._address)
        else:
            link = socket.create_connection(self._address)
        level, no_keepalive = b"\x04", b"\x00\x00"
        hello = packets.text("MQTT") + level + bytes([_KEEP_SESSION]) + no_keepalive + packets.text("ingester")
        link.sendall(packets.packet(packets.CONNECT, hello))
        topic = b"\x00\x01" + packets.text("edgeapp/v1/+/+/telemetry") + b"\x01"
        link.sendall(packets.packet(packets.SUBSCRIBE, topic, flags=2))
        return link

    def _read(self, link: socket.socket, database: sqlite3.Connection) -> None:
        with link.makefile("rb") as stream:
            while (found := packets.read_packet(stream)) is not None:
                kind, flags, rest = found
                if kind == packets.PUBLISH:
                    _, mid, payload, _ = packets.split_publish(flags, rest)
                    is_new = _keep(database, json.loads(payload))
                    with suppress(OSError):
                        link.sendall(packets.packet(packets.PUBACK, mid.to_bytes(2, "big")))
                    with self._news:
                        self._received += 1
                        self._duplicates += not is_new
                        self._news.notify_all()
                elif kind == packets.SUBACK:
                    with self._news:
                        self._subscriptions += 1
                        self._news.notify_all()


def _keep(database: sqlite3.Connection, report: dict[str, object]) -> bool:
    """Commit one report, and what it says about gaps; whether it is new."""
    device, seq = report["device"], report["seq"]
    with database:
        (highest,) = database.execute("SELECT max(seq) FROM report WHERE device = ?", (device,)).fetchone()
        values = (device, report["boot"], seq, report["lost"])
        is_new = database.execute("INSERT OR IGNORE INTO report VALUES (?, ?, ?, ?)", values).rowcount == 1
        assert isinstance(seq, int)
        if highest is not None and seq > highest + 1:
            missing = [(device, number) for number in range(highest + 1, seq)]
            database.executemany("INSERT OR IGNORE INTO gap VALUES (?, ?)", missing)
        database.execute("DELETE FROM gap WHERE device = ? AND seq = ?", (device, seq))
    return is_new
