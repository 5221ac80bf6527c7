"""What the fleet has said, in an SQLite file: each report once, in the order of its arrival.

Owns the file and what is read out of a message. Guarantees: what `keep` returned from is on disk; a report's identity
is (device, boot, seq), a second one changes nothing; a device speaks only for itself (its topic), and unreadable
messages are counted and dropped. Several processes may write at once. Reports about inference are kept for their
numbers only, so that gaps show, and for a month.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from edgeapp.document import JSON_MAX_BYTES
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.messages import CommandResult, Event, ReleaseId, read_event, read_result
from edgeapp.workshop.broker_link import Message
from edgeapp.workshop.rollout_step import RequestKind

KINDS = ("status", "telemetry", "event", "cmd-result")
_GAPS_S = 30 * 86_400.0
_BUSY_S = 30.0
_MAX_INTEGER = 1 << 53
_DEVICE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS report (
  id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL,
  kind TEXT NOT NULL, heard_s REAL NOT NULL, at_s INTEGER NOT NULL, command_seq INTEGER, content BLOB,
  UNIQUE (device, boot, seq));
CREATE INDEX IF NOT EXISTS report_of_command ON report (command_seq);
CREATE INDEX IF NOT EXISTS report_of_device ON report (device, kind, at_s);
CREATE TABLE IF NOT EXISTS device (
  device TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'unknown', app TEXT NOT NULL DEFAULT '',
  heard_s REAL NOT NULL DEFAULT 0, model TEXT NOT NULL DEFAULT '', version INTEGER, lost INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS request (
  id INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, kind TEXT NOT NULL, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS unreadable (device TEXT PRIMARY KEY, count INTEGER NOT NULL, reason TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """What is known of one device. `missing` are numbers of reports that never came here in the last 30 days.

    `model` is empty while nothing told it; `lost` is what the device says it had to drop.
    """

    device: str
    state: str
    app: str
    heard_s: float
    model: str
    version: int | None
    lost: int
    missing: int
    unreadable: int
    last: Event | None
    last_error: Event | None


class History:
    """The file `history.db` of a state folder."""

    def __init__(self, folder: Path, tenant: str) -> None:
        self._tenant = tenant
        self._database = sqlite3.connect(folder / "history.db", timeout=_BUSY_S, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.executescript(_SCHEMA)
        with self._transaction():
            old_s = time.time() - _GAPS_S
            self._database.execute("DELETE FROM report WHERE kind = 'telemetry' AND heard_s < ?", (old_s,))

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def topics(self) -> list[str]:
        """What to subscribe to."""
        return [f"edgeapp/v1/{self._tenant}/+/{kind}" for kind in KINDS]

    def keep(self, messages: Iterable[Message]) -> set[str]:
        """Make messages durable. Returns the devices that have a status."""
        now_s, present = time.time(), set()
        with self._transaction():
            for message in messages:
                *_, device, kind = message.topic.split("/")
                try:
                    if kind == "status":
                        if self._keep_status(device, message.payload, now_s):
                            present.add(device)
                    elif kind == "telemetry":
                        self._keep_telemetry(device, message.payload, now_s)
                    else:
                        read = read_event if kind == "event" else read_result
                        self._keep_update(device, kind, read(message.payload), message.payload, now_s)
                except (UpdateError, ValueError) as error:
                    self._database.execute(
                        "INSERT INTO unreadable VALUES (?, 1, ?) ON CONFLICT (device) "
                        "DO UPDATE SET count = count + 1, reason = excluded.reason",
                        (device, str(error)[:200]),
                    )
        return present

    def cursor(self) -> int:
        """The row of the newest report."""
        (row,) = self._database.execute("SELECT max(id) FROM report").fetchone()
        return row or 0

    def events_after(self, cursor: int, command_seqs: Collection[int] | None = None) -> list[tuple[int, Event]]:
        """The events that came after the row `cursor`, with their rows, as they arrived; of these commands, or all."""
        query, values = "SELECT id, content FROM report WHERE kind = 'event' AND id > ?", [cursor]
        if command_seqs is not None:
            query += f" AND command_seq IN ({','.join('?' * len(command_seqs))})"
            values += command_seqs
        rows = self._database.execute(f"{query} ORDER BY id", values).fetchall()
        return [(row, read_event(content)) for row, content in rows]

    def results(self, command_seq: int) -> dict[str, CommandResult]:
        """The answers to a `status`, by device."""
        rows = self._database.execute(
            "SELECT device, content FROM report WHERE kind = 'cmd-result' AND command_seq = ? ORDER BY id",
            (command_seq,),
        )
        return {device: read_result(content) for device, content in rows.fetchall()}

    def events_of(self, device: str, limit: int, *, only_errors: bool = False) -> list[Event]:
        """The last events of a device, oldest first; all, or those with a code."""
        errors = "AND json_extract(CAST(content AS TEXT), '$.code') != '' " if only_errors else ""
        rows = self._database.execute(
            "SELECT content FROM report WHERE kind = 'event' AND device = ? "
            f"{errors}ORDER BY at_s DESC, seq DESC LIMIT ?",
            (device, limit),
        )
        return [read_event(content) for (content,) in rows][::-1]

    def events_about(self, sha256: str) -> list[Event]:
        """What devices told of the release whose manifest has this hash, as it arrived."""
        rows = self._database.execute(
            "SELECT content FROM report WHERE kind = 'event' "
            "AND json_extract(CAST(content AS TEXT), '$.release.sha256') = ? ORDER BY id",
            (sha256,),
        )
        return [read_event(content) for (content,) in rows.fetchall()]

    def highest_command(self) -> int:
        """The highest sequence number of a command that a device has spoken of; 0 where none has."""
        (highest,) = self._database.execute("SELECT max(command_seq) FROM report").fetchone()
        return highest or 0

    def devices(self) -> list[DeviceSummary]:
        """All devices that were ever heard of."""
        missing, unreadable = self._missing(), dict(self._database.execute("SELECT device, count FROM unreadable"))
        rows = self._database.execute(
            "SELECT device, state, app, heard_s, model, version, lost FROM device ORDER BY device"
        ).fetchall()
        return [self._summary(row, missing.get(row[0], 0), unreadable.get(row[0], 0)) for row in rows]

    def request(self, rollout: str, kind: RequestKind) -> None:
        """Leave a request for whoever drives the rollout."""
        with self._transaction():
            self._database.execute(
                "INSERT INTO request (rollout, kind, at_s) VALUES (?, ?, ?)", (rollout, kind, time.time())
            )

    def requests_after(self, cursor: int, rollout: str) -> list[tuple[int, RequestKind]]:
        """The requests that came after the row `cursor`, with their rows."""
        return self._database.execute(
            "SELECT id, kind FROM request WHERE id > ? AND rollout = ? ORDER BY id", (cursor, rollout)
        ).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _summary(self, row: tuple[Any, ...], missing: int, unreadable: int) -> DeviceSummary:
        last, error = self.events_of(row[0], 1), self.events_of(row[0], 1, only_errors=True)
        ends = (last[0] if last else None, error[0] if error else None)
        return DeviceSummary(*(*row, missing, unreadable, *ends))

    def _missing(self) -> dict[str, int]:
        rows = self._database.execute(
            "SELECT device, max(seq) - min(seq) + 1 - count(DISTINCT seq) FROM report "
            "WHERE heard_s > ? GROUP BY device",
            (time.time() - _GAPS_S,),
        )
        return dict(rows.fetchall())

    def _keep_status(self, device: str, payload: bytes, now_s: float) -> bool:
        """A retained status; an empty one takes the device away."""
        if not payload:
            self._database.execute("DELETE FROM device WHERE device = ?", (device,))
            return False
        fields = _fields(payload, device)
        state, app = fields.get("state"), fields.get("app")
        if state not in ("online", "offline") or not isinstance(app, str) or not app.isprintable():
            raise ValueError(f"status: expected online or offline and a version, found {payload[:80]!r}")
        self._see(device, now_s)
        self._database.execute("UPDATE device SET state = ?, app = ? WHERE device = ?", (state, app[:64], device))
        return True

    def _keep_telemetry(self, device: str, payload: bytes, now_s: float) -> None:
        """Its identity, and which model runs. Fields that are not known are none of ours."""
        fields = _fields(payload, device)
        boot, seq, lost = fields.get("boot"), fields.get("seq"), fields.get("lost")
        if not isinstance(boot, str) or not _is_count(seq) or not _is_count(lost):
            raise ValueError(f"telemetry: expected boot, seq and lost, found {payload[:80]!r}")
        self._see(device, now_s, lost)
        model = fields.get("model")
        name, version = (model.get("name"), model.get("version")) if isinstance(model, dict) else (None, None)
        if isinstance(name, str) and name.isprintable() and _is_count(version):
            self._run(device, name[:64], version)
        self._insert(device, boot[:16], seq, "telemetry", now_s, int(now_s), None, None)

    def _keep_update(
        self, device: str, kind: str, message: Event | CommandResult, payload: bytes, now_s: float
    ) -> None:
        _hold_to(device, message.device)
        self._see(device, now_s, message.lost)
        active = message.active if isinstance(message, Event) else message.update.active
        self._run(device, *_named(active))
        seq = message.command.seq if message.command else None
        self._insert(device, message.boot, message.seq, kind, now_s, message.at, seq, payload)

    def _insert(self, *values: object) -> None:
        self._database.execute(
            "INSERT OR IGNORE INTO report (device, boot, seq, kind, heard_s, at_s, command_seq, content) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )

    def _see(self, device: str, now_s: float, lost: int = 0) -> None:
        self._database.execute(
            "INSERT INTO device (device, heard_s, lost) VALUES (?, ?, ?) ON CONFLICT (device) "
            "DO UPDATE SET heard_s = excluded.heard_s, lost = max(lost, excluded.lost)",
            (device, now_s, lost),
        )

    def _run(self, device: str, model: str, version: int | None) -> None:
        self._database.execute("UPDATE device SET model = ?, version = ? WHERE device = ?", (model, version, device))


def _fields(payload: bytes, device: str) -> dict[str, Any]:
    if len(payload) > JSON_MAX_BYTES:
        raise ValueError(f"expected at most {JSON_MAX_BYTES} bytes, found {len(payload)}")
    try:
        fields = json.loads(payload)
    except RecursionError as error:
        raise ValueError("expected JSON of sane depth") from error
    if not isinstance(fields, dict):
        raise ValueError(f"expected a JSON object, found {payload[:80]!r}")
    _hold_to(device, fields.get("device"))
    return fields


def _hold_to(device: str, told: object) -> None:
    if told != device or not _DEVICE.fullmatch(device):
        raise ValueError(f"expected the device of the topic, {device}, found {told!r:.80}")


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_INTEGER


def _named(release: ReleaseId | None) -> tuple[str, int | None]:
    return ("factory model", None) if release is None else (release.name, release.version)
