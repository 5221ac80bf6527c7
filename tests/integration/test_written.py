"""All that a real daemon wrote after known traffic: no true count, no picture, no box; the search would see one."""

from __future__ import annotations

import base64
import json
import socket
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeapp.telemetry.spool import SPOOL_NAME
from tests.fakes.broker import Broker
from tests.fakes.crowded_daemon import CROWDS, SCORE
from tests.fakes.device import Device
from tests.fakes.subscriber import Received, Subscriber
from tests.fakes.written import files, findings

TRUE = sum(CROWDS)
GIVEN = ("video.avi", "model", "config.yaml")


class Journal:
    """What the daemon says to systemd, collected."""

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        while True:
            self.text += self._socket.recv(65_536) + b"\n"


def crowded(messages: list[Received]) -> dict[str, int]:
    """Device → what it told of the quarter of an hour in which the crowds came."""
    reports = [one.fields for one in messages if one.topic.endswith("/counts")]
    told = [(each["device"], each["counts"]["entered"]["person"]) for each in reports if each["level"] == "quarter"]
    return {device: count for device, count in told if count > TRUE / 2}


def seen(device: Device, messages: list[Received], journal: Journal) -> list[str]:
    everything = [*files(device.folder, but=GIVEN), ("to systemd", journal.text)]
    everything += [(one.topic, one.payload) for one in messages if f"/{device.folder.name}/" in one.topic]
    return findings(everything, counts=[TRUE], scores=[SCORE])


def test_what_a_daemon_wrote_holds_no_true_count_no_picture_and_no_box(tmp_path: Path) -> None:
    """Two daemons at the level debug, one of which logs its counts: the search finds that, and nothing else."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker"))
        subscriber = stack.enter_context(Subscriber(broker.port, "edgeapp/v1/default/#"))
        devices = {name: make(tmp_path / name, broker.port) for name in ("clean", "leaky")}
        journals = {name: Journal(tmp_path / f"{name}.socket") for name in devices}
        for name, device in devices.items():
            stack.enter_context(closing_device(device))
            leak = {"EDGEAPP_TEST_LEAK": "1"} if name == "leaky" else {}
            temporary = {name: str(device.folder) for name in ("HOME", "TMPDIR")}
            device.start(NOTIFY_SOCKET=str(journals[name].path), **leak, **temporary)
        messages = subscriber.wait(
            lambda got: len(crowded(got)) == 2, "the crowds", 180
        )  # some seconds of a processor that is ours
        assert all(abs(told - TRUE) < 50 for told in crowded(messages).values()), "the traffic was counted"
        found = {name: seen(device, messages, journals[name]) for name, device in devices.items()}
        devices["clean"].kill()  # leaves the write-ahead log
        found["killed"] = seen(devices["clean"], messages, journals["clean"])
        tear(devices["clean"].folder / "state" / SPOOL_NAME)
        restart(devices["clean"])
        found["torn"] = seen(devices["clean"], subscriber.messages, journals["clean"])
    names = [name for name, _ in files(devices["clean"].folder, but=GIVEN)]
    assert {"state/spool.db", "state/spool.db.torn-1", "run/status.json", "daemon.log"} <= set(names)
    assert b"STATUS=" in journals["clean"].text
    assert (found["clean"], found["killed"], found["torn"]) == ([], [], [])
    assert found["leaky"]
    assert all(each.startswith("daemon.log: ") for each in found["leaky"])


def make(folder: Path, port: int) -> Device:
    return Device(
        folder,
        port=port,
        program="tests.fakes.crowded_daemon",
        device={"id": folder.name},
        tracking={"confirm_frames": 1, "forget_s": 0.1},
        privacy={"epsilon_per_day": 20.0, "shares": {"entered": 1.0, "confidence": 1.0}},
        telemetry={"window_s": 300},
        logging={"level": "debug"},
    )


@contextmanager
def closing_device(device: Device) -> Iterator[None]:
    try:
        yield
    finally:
        device.kill()


def restart(device: Device) -> None:
    device.start()
    device.wait_inferring()
    assert device.stop()[0] == 0


def tear(spool: Path) -> None:
    """Bring the log into the file and overwrite its header; the rest stays readable in the copy that is moved aside."""
    with closing(sqlite3.connect(spool)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with spool.open("r+b") as file:
        file.write(bytes(100))


PICTURE = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
BOX = [0.123, 0.456, 0.789, 0.812]


@pytest.mark.parametrize(
    "planted",
    [
        f"closed with {TRUE}".encode(),
        struct.pack("<q", TRUE),
        f'{{"score":{SCORE}}}'.encode(),
        cv2.imencode(".jpg", PICTURE)[1].tobytes(),
        cv2.imencode(".png", PICTURE)[1].tobytes(),
        base64.b64encode(PICTURE.tobytes()),
        PICTURE.tobytes().hex().encode(),
        np.full((8, 32), 255, np.uint8).tobytes(),
        json.dumps(BOX).encode(),
        np.array(BOX * 2, np.float32).tobytes(),
    ],
)
def test_the_search_finds_what_is_planted(planted: bytes) -> None:
    harmless = b'{"p50_ms":5.123,"p99_ms":7.456,"sha256":"' + b"ab" * 32 + b'","pad":"' + b" " * 500 + b'"}'
    search = partial(findings, counts=[TRUE], scores=[SCORE])
    assert search([("file", harmless)]) == []
    assert search([("file", harmless + planted + harmless)])
