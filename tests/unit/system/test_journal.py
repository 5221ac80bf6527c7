"""A record reaches the journal with its fields, and is never lost or in the way where the journal is not there."""

from __future__ import annotations

import logging
import os
import socket
import struct
from pathlib import Path

import pytest

from edgeapp.errors import CaptureError
from edgeapp.system import journal


def _parse(datagram: bytes) -> dict[str, str]:
    """What systemd-journald reads in a datagram, by the protocol's long form of a field."""
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        (length,) = struct.unpack_from("<Q", rest)
        found[name.decode()] = rest[8 : 8 + length].decode()
        assert rest[8 + length : 9 + length] == b"\n"
        datagram = rest[9 + length :]
    return found


def _log(address: Path | str) -> tuple[logging.Logger, journal.JournalHandler]:
    logger = logging.Logger("edgeapp.test")
    handler = journal.JournalHandler("edgeapp", str(address))
    logger.addHandler(handler)
    return logger, handler


def test_a_record_arrives_with_its_fields(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        logger, handler = _log(tmp_path / "socket")
        logger.warning("%s: %s", "camera", CaptureError("unplugged\nsecond line"), extra=journal.VISION_LOST)
        logger.info("plain")
        first, second = _parse(server.recv(65536)), _parse(server.recv(65536))
        handler.close()
    assert first["MESSAGE"] == "camera: unplugged\nsecond line"
    assert first["PRIORITY"] == "4"
    assert first["SYSLOG_IDENTIFIER"] == "edgeapp"
    assert first["EDGEAPP_CODE"] == "E_CAMERA"
    assert first["MESSAGE_ID"] == journal.VISION_LOST["message_id"]
    assert first["CODE_FILE"] == __file__
    assert first["CODE_FUNC"] == "test_a_record_arrives_with_its_fields"
    assert second["PRIORITY"] == "6"
    assert not {"MESSAGE_ID", "EDGEAPP_CODE"} & second.keys()


def test_without_a_journal_the_line_goes_to_stderr_with_its_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, handler = _log(tmp_path / "nobody")
    logger.error("two\nlines")
    handler.close()
    assert capsys.readouterr().err == "<3>two\n<3>lines\n"


def test_a_journal_that_does_not_read_holds_nobody_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "socket"))
        logger, handler = _log(tmp_path / "socket")
        for _ in range(2000):
            logger.info("more than a socket holds")
        handler.close()
    assert "<6>more than a socket holds\n" in capsys.readouterr().err


def test_the_journal_is_spoken_to_only_where_systemd_connected_stderr_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    found = os.fstat(write_end)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    assert journal.is_journal(write_end)
    with Path(os.devnull).open("w") as elsewhere:
        assert not journal.is_journal(elsewhere.fileno())
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not journal.is_journal(write_end)
    os.close(read_end)
    os.close(write_end)
