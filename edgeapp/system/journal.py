"""The log: records with fields of their own to systemd's journal, plain lines elsewhere.

Speaks the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), a datagram of fields, in a few lines of our
own, as notify.py does and for the same reason. A reader can then ask `journalctl EDGEAPP_CODE=E_CAMERA` or
`journalctl MESSAGE_ID=…`. Where the journal does not take a record, the line goes to stderr with the level in front
(<4>), which systemd understands too. Guarantees that a record never raises and never blocks.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import Final

from edgeapp.errors import EdgeAppError

_ADDRESS = "/run/systemd/journal/socket"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_MAX_BYTES = 16 * 1024  # of one field: a datagram is limited by the socket's buffer

# What a reader may want to find by one number, whatever its words: pass one as `extra=`, with "edgeapp_code" where the
# error is not among the record's arguments. Listed in docs/operations.md.
STARTED: Final = {"message_id": "1823b0af8b4146c99c362d87d9c5ee72"}
STOPPED: Final = {"message_id": "4be4e32511414b42b3ede96057740eb4"}
STANDS_STILL: Final = {"message_id": "75ff5a5090a54d62a58469a16a8c24b6"}
CONFIG_REFUSED: Final = {"message_id": "95f2fa9e68174395b89c9e017337817a"}
VISION_LOST: Final = {"message_id": "b2f1eb78173044398344939abbf56a60"}
MODEL_RUNS: Final = {"message_id": "4384efd0c31f4a458b34f9168caa4719"}
HEAT_CHANGED: Final = {"message_id": "271f467be6bb4f5db731b3023f721a52"}
UPDATE_EVENT: Final = {"message_id": "d7cab8a0276243c2b148b1711707d4d0"}


class JournalHandler(logging.Handler):
    """Sends records to the journal's socket."""

    def __init__(self, identifier: str, address: str = _ADDRESS) -> None:
        """`identifier` is what stands before the process id in the journal's lines."""
        super().__init__()
        self._identifier, self._address = identifier, address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        text = ""
        try:
            text = self.format(record)
            datagram = b"".join(_field(name, value) for name, value in fields(record, text, self._identifier))
            self._socket.sendto(datagram, socket.MSG_DONTWAIT, self._address)
        except OSError:
            lines = "".join(f"<{_priority(record)}>{line}\n" for line in text.splitlines())
            sys.stderr.write(lines)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def set_up(level: str, *, identifier: str, plain: str) -> None:
    """Send this process's log to where it is read: the journal where systemd connected stderr with it, else stderr.

    Args:
        level: of the root logger, as `logging` names it, in any case.
        identifier: of the process, in the journal.
        plain: the format of a line on stderr.
    """
    handlers = [JournalHandler(identifier)] if is_journal(sys.stderr.fileno()) else None
    form = "%(message)s" if handlers else plain
    logging.basicConfig(level=level.upper(), format=form, handlers=handlers)


def is_journal(descriptor: int) -> bool:
    """Whether systemd connected this descriptor with the journal (JOURNAL_STREAM, systemd.exec(5))."""
    found = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"


def fields(record: logging.LogRecord, text: str, identifier: str) -> Iterable[tuple[str, str]]:
    """The fields of a record, as systemd.journal-fields(7) names them, and EDGEAPP_CODE of an error in it."""
    yield "MESSAGE", text
    yield "PRIORITY", str(_priority(record))
    yield "SYSLOG_IDENTIFIER", identifier
    yield "CODE_FILE", record.pathname
    yield "CODE_LINE", str(record.lineno)
    yield "CODE_FUNC", record.funcName
    yield "LOGGER", record.name
    yield "THREAD_NAME", record.threadName or ""
    message_id = getattr(record, "message_id", "")
    if message_id:
        yield "MESSAGE_ID", message_id
    code = getattr(record, "edgeapp_code", "") or _code(record)
    if code:
        yield "EDGEAPP_CODE", code


def _code(record: logging.LogRecord) -> str:
    """The code of the error that a record is about: one of its arguments, or what was raised."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    raised = record.exc_info[1] if record.exc_info else None
    return next((one.code for one in (*arguments, raised) if isinstance(one, EdgeAppError)), "")


def _priority(record: logging.LogRecord) -> int:
    known = [level for level in _PRIORITIES if level <= record.levelno]
    return _PRIORITIES[max(known, default=logging.DEBUG)]


def _field(name: str, value: str) -> bytes:
    content = value.encode(errors="replace")[:_MAX_BYTES]
    return name.encode() + b"\n" + struct.pack("<Q", len(content)) + content + b"\n"
