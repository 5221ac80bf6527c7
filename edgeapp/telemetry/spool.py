"""Reports that wait for the broker, on disk: bounded, durable, oldest dropped first.

Owns the file `spool.db` (SQLite, write-ahead log, synchronous=FULL), the numbers of the reports, and the ledger: which
windows of which level were released. What a report says is the caller's; when it may be deleted is decided by whoever
sends it.

Guarantees:
- once `put` has returned, the report survives a power cut, until it is deleted or dropped as the oldest of too many;
- a number (`seq`) is never given twice within one run of the daemon, also when the file had to be begun anew;
- every drop is counted, durably and in the same transaction. A report that was on its way to the broker when it was
  dropped is counted too, so `lost` is an upper bound;
- a window is released at most once, because its report and its entry in the ledger become durable together. A ledger
  that begins anew, as the file was deleted or torn, knows no less than this run of the daemon did before; of a level it
  knows nothing of, it refuses the first window, which another ledger may have released already;
- a torn file is moved aside (`spool.db.torn-<n>`, the newest one is kept) and a new one begun, loudly: a damaged card
  costs the waiting reports, never a loop of crashes.

Any thread may call any method: one lock guards the one connection. Two connections would block each other in just the
same places (SQLite has one writer), and could not move a torn file away under each other's feet.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from edgeapp.errors import SpoolError

_LOGGER = logging.getLogger(__name__)
SPOOL_NAME = "spool.db"
_TORN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE = 0xFF  # SQLite's extended result codes keep the primary one in the low byte
_BUSY_S = 0.5  # nobody else should hold the file; a technician's sqlite3 shell may, and a stop must stay prompt
_CHECKPOINT_PAGES = 200  # keeps the write-ahead log under a megabyte
_SIDE_FILES = ("-wal", "-shm")
_Result = TypeVar("_Result")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS report (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS released (level TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO counter VALUES ('lost', 0);
"""
_ENTER = "INSERT INTO released VALUES (?, ?) ON CONFLICT (level) DO UPDATE SET last = max(last, excluded.last)"
_Make = Callable[[int, int], bytes]


class Spool:
    """The waiting reports of one device. Opened at the first use, and again after each failure."""

    def __init__(self, path: Path, max_reports: int, *, max_pages: int | None = None) -> None:
        """Args:
        path: the database file; its folder must exist.
        max_reports: how many may wait.
        max_pages: a limit for the file's size, in SQLite's pages of 4 KiB; None for no limit but the disk's.
        """
        self._path = path
        self._max_reports = max_reports
        self._max_pages = max_pages
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._waiting = 0
        self._lost = 0
        self._last_seq = 0
        self._released: dict[str, int] = {}

    def put(self, make: _Make, kind: str = "telemetry") -> int:
        """Keep one report and return its number. Blocks until it is durable.

        Args:
            kind: the last word of its topic.
            make: gets the number and how many reports were lost so far, and returns the report's bytes. Called in the
                transaction; what it raises undoes it and comes through.

        Raises:
            SpoolError: the disk is full, read-only or broken. Nothing changed; try again later.
        """
        with self._lock:
            seq, dropped = self._in_transaction(lambda connection: self._insert(connection, make, kind))
            self._note_insert(seq, dropped)
        return seq

    def put_release(self, make: _Make, kind: str, level: str, window: int) -> int | None:
        """As `put`, for the one release of a window; None if that window or a later one may have been released before.

        Raises:
            SpoolError: as for `put`; the window is not released.
        """

        def claim(connection: sqlite3.Connection) -> tuple[int, int] | None:
            last = connection.execute("SELECT last FROM released WHERE level = ?", (level,)).fetchone()
            connection.execute(_ENTER, (level, window))
            return self._insert(connection, make, kind) if last is not None and window > last[0] else None

        with self._lock:
            inserted = self._in_transaction(claim)
            self._released[level] = max(window, self._released.get(level, window))
            if inserted is not None:
                self._note_insert(*inserted)
                return inserted[0]
        _LOGGER.info("%s window %d is not released: it, or a later one, may have been released before", level, window)
        return None

    def next_batch(self, limit: int, after_seq: int = 0) -> list[tuple[int, str, bytes]]:
        """Up to `limit` waiting reports numbered above `after_seq`, oldest first, as (seq, kind, bytes).

        Raises:
            SpoolError: the file cannot be read.
        """
        query = "SELECT seq, kind, payload FROM report WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._lock:
            return self._in_transaction(lambda connection: connection.execute(query, (after_seq, limit)).fetchall())

    def delete(self, *seqs: int) -> None:
        """Forget reports that the broker has acknowledged, in one transaction. Unknown numbers are ignored.

        Raises:
            SpoolError: the file cannot be written; the reports are still there.
        """

        def remove(connection: sqlite3.Connection) -> int:
            return connection.executemany("DELETE FROM report WHERE seq = ?", [(seq,) for seq in seqs]).rowcount

        with self._lock:
            self._waiting -= self._in_transaction(remove)

    def waiting(self) -> int:
        """How many reports wait, as of the last use of the file."""
        return self._waiting

    def lost(self) -> int:
        """How many reports were dropped because too many waited or the file was torn, over the spool's life."""
        return self._lost

    def open(self) -> None:
        """Open the file now rather than at the first use, so that `waiting` and `lost` are known.

        Raises:
            SpoolError: it cannot be opened.
        """
        with self._lock:
            self._in_transaction(lambda _: None)

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        with self._lock:
            self._close()

    def _insert(self, connection: sqlite3.Connection, make: _Make, kind: str) -> tuple[int, int]:
        """Store a report; returns its number and how many were dropped for it."""
        surplus = self._waiting + 1 - self._max_reports
        if surplus > 0:
            oldest = "SELECT seq FROM report ORDER BY seq LIMIT ?"
            connection.execute(f"DELETE FROM report WHERE seq IN ({oldest})", (surplus,))
            connection.execute("UPDATE counter SET value = value + ? WHERE name = 'lost'", (surplus,))
        dropped = max(surplus, 0)
        seq = connection.execute("INSERT INTO report (kind, payload) VALUES (?, x'')", (kind,)).lastrowid
        assert seq is not None, "an INSERT gives a row id"
        connection.execute("UPDATE report SET payload = ? WHERE seq = ?", (make(seq, self._lost + dropped), seq))
        return seq, dropped

    def _note_insert(self, seq: int, dropped: int) -> None:
        self._waiting += 1 - dropped
        self._lost += dropped
        self._last_seq = seq
        if dropped:
            _LOGGER.warning("spool full: dropped the %d oldest of %d reports", dropped, self._max_reports)

    def _in_transaction(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Do `work` wholly or not at all; begin the file anew if it turns out to be torn, and do it there."""
        try:
            return self._attempt(work)
        except sqlite3.DatabaseError as error:
            if not _is_torn(error):
                raise SpoolError(f"{self._path}: expected to read and write it, found: {error}") from error
            self._move_aside(error)
        try:
            return self._attempt(work)
        except sqlite3.DatabaseError as error:
            raise SpoolError(f"{self._path}: begun anew, but cannot be written: {error}") from error

    def _attempt(self, work: Callable[[sqlite3.Connection], _Result]) -> _Result:
        try:
            connection = self._connection or self._open()
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            return result
        except BaseException:
            # Closing rolls back, and the next use looks at the file with fresh eyes.
            self._close()
            raise

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        if self._max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
        finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if finding != "ok":
            raise _TornError(finding)
        connection.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.strip().splitlines():
            connection.execute(statement)
        self._carry_over(connection)
        connection.execute("COMMIT")
        return connection

    def _carry_over(self, connection: sqlite3.Connection) -> None:
        """Take the numbers from the file, or give it ours where it knows less, because it was begun anew."""
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'report'").fetchone()
        known_seq = row[0] if row else 0
        if known_seq < self._last_seq:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'report'")
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('report', ?)", (self._last_seq,))
        connection.execute("UPDATE counter SET value = max(value, ?) WHERE name = 'lost'", (self._lost,))
        self._last_seq = max(known_seq, self._last_seq)
        connection.executemany(_ENTER, self._released.items())
        self._released = dict(connection.execute("SELECT level, last FROM released").fetchall())
        self._lost = connection.execute("SELECT value FROM counter WHERE name = 'lost'").fetchone()[0]
        self._waiting = connection.execute("SELECT COUNT(*) FROM report").fetchone()[0]

    def _move_aside(self, reason: sqlite3.DatabaseError) -> None:
        folder, name = self._path.parent, self._path.name
        pattern = re.compile(re.escape(name) + r"\.torn-(\d+)")
        try:
            numbers = [int(found[1]) for entry in folder.iterdir() if (found := pattern.match(entry.name))]
            number = max(numbers, default=0) + 1
            aside = folder / f"{name}.torn-{number}"
            self._path.replace(aside)
            for suffix in _SIDE_FILES:
                with suppress(FileNotFoundError):
                    (folder / f"{name}{suffix}").replace(folder / f"{aside.name}{suffix}")
            for old in set(numbers):
                for suffix in ("", *_SIDE_FILES):
                    (folder / f"{name}.torn-{old}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            raise SpoolError(f"{self._path}: torn ({reason}), and cannot be moved aside: {error}") from error
        _LOGGER.error("%s is torn (%s): moved to %s, at least %d reports lost", name, reason, aside, self._waiting)
        self._lost += self._waiting
        self._waiting = 0

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


class _TornError(sqlite3.DatabaseError):
    """SQLite's own check found the file torn."""


def _is_torn(error: sqlite3.DatabaseError) -> bool:
    if isinstance(error, _TornError):
        return True
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & _PRIMARY_CODE in _TORN
