"""The publisher against a real mosquitto: nothing is lost, whoever dies, and a stop is prompt, whoever hangs."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from edgeapp.config import MqttConfig
from edgeapp.errors import SpoolError
from edgeapp.messaging import home_assistant
from edgeapp.messaging.announcements import ANNOUNCED_NAME
from edgeapp.messaging.connection import Connection
from edgeapp.messaging.mqtt import MAX_IN_FLIGHT
from edgeapp.messaging.topics import Topics
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from tests.fakes.broker import Broker, free_port
from tests.fakes.gate import Gate
from tests.fakes.sending_device import DEVICE, SendingDevice
from tests.fakes.subscriber import Received, Subscriber

_STATUS = f"edgeapp/v1/default/{DEVICE}/status"
_TELEMETRY = f"edgeapp/v1/default/{DEVICE}/telemetry"
_WAIT_S = 60.0
_STOP_S = 1.0  # the promise; a dial alone may last five seconds
Identity = tuple[str, str, int]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def _config(port: int, **changes: object) -> MqttConfig:
    return MqttConfig(**{"host": "127.0.0.1", "port": port, "reconnect_max_s": 1.0, **changes})  # type: ignore[arg-type]


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited {_WAIT_S:.0f} s for {what}"
        time.sleep(0.01)


def _identities(messages: list[Received]) -> Counter[Identity]:
    reports = [message.fields for message in messages if message.topic == _TELEMETRY]
    return Counter((report["device"], report["boot"], report["seq"]) for report in reports)


def _has_all(expected: set[Identity]) -> Callable[[list[Received]], bool]:
    # Parsing every message at every arrival would be quadratic; there can be no full set before there are enough.
    return lambda messages: len(messages) > len(expected) and set(_identities(messages)) == expected


def _states(messages: list[Received]) -> list[str]:
    return [message.fields["state"] for message in messages if message.topic == _STATUS]


def _check_schemas(messages: list[Received]) -> None:
    validators = {}
    for topic, name in ((_STATUS, "status-v1"), (_TELEMETRY, "telemetry-v1")):
        schema = json.loads((resources.files("edgeapp") / "schemas" / f"{name}.schema.json").read_text())
        validators[topic] = jsonschema.Draft202012Validator(schema)
    for message in messages:
        validators[message.topic].validate(message.fields)


def test_reports_arrive_once_and_leave_the_spool_on_a_good_link(tmp_path: Path, broker: Broker) -> None:
    with Subscriber(broker.port) as subscriber, SendingDevice(tmp_path, _config(broker.port)) as device:
        expected = device.report(100)
        messages = subscriber.wait(_has_all(expected), "100 reports")
        _until(lambda: device.spool.waiting() == 0, "an empty spool")
        health = device.health
    assert set(_identities(messages).values()) == {1}
    assert (health.is_connected, health.delivered, health.waiting, health.error) == (True, 100, 0, "")
    assert health.last_delivered_s is not None
    _check_schemas(messages)


def test_reports_that_waited_for_the_broker_arrive_once(tmp_path: Path, broker: Broker) -> None:
    with ExitStack() as stack:
        subscriber = stack.enter_context(Subscriber(broker.port))
        gate = stack.enter_context(Gate(broker.port))
        gate.shut()
        device = stack.enter_context(SendingDevice(tmp_path, _config(gate.port)))
        expected = device.report(50)
        _until(lambda: device.health.error != "", "a failed dial")
        beats = device.beats
        _until(lambda: device.beats > beats + 3, "a heart that beats while the broker is away")
        assert (device.health.is_connected, device.health.waiting) == (False, 50)
        gate.open()
        messages = subscriber.wait(_has_all(expected), "all reports")
        _until(lambda: device.spool.waiting() == 0, "an empty spool")
    assert set(_identities(messages).values()) == {1}


def test_a_broker_killed_twice_in_the_middle_costs_no_report(tmp_path: Path, broker: Broker) -> None:
    """The gate lets the device come back only after the subscriber: what a broker gives to nobody is not our loss."""
    kills = 2
    with ExitStack() as stack:
        subscriber = stack.enter_context(Subscriber(broker.port))
        gate = stack.enter_context(Gate(broker.port))
        gate.shut()
        device = stack.enter_context(SendingDevice(tmp_path, _config(gate.port)))
        expected = device.report(600)
        gate.open()
        for kill in range(kills):
            enough = 150 * (kill + 1)
            subscriber.wait(lambda messages, enough=enough: len(messages) > enough, f"{enough} reports")  # type: ignore[misc]
            broker.kill()
            gate.shut()
            assert device.spool.waiting() > 0, "the kill came too late to hit the middle"
            broker.start()
            subscriber.wait_subscribed(kill + 2)
            gate.open()
        messages = subscriber.wait(_has_all(expected), "all reports")
        _until(lambda: device.spool.waiting() == 0, "an empty spool")
    doubles = _identities(messages).total() - len(expected)
    assert doubles <= kills * MAX_IN_FLIGHT
    _check_schemas(messages)


def test_a_device_killed_while_sending_sends_the_rest_after_its_restart_and_is_seen_offline_between(
    tmp_path: Path, broker: Broker
) -> None:
    reports = 400
    boots = ["a" * 16, "b" * 16, "c" * 16]
    with Subscriber(broker.port) as subscriber:
        for number, boot in enumerate(boots[:2], start=1):
            seen = len(subscriber.messages)
            with _start_device(tmp_path, broker.port, boot, reports) as process:
                subscriber.wait(lambda messages, seen=seen: len(messages) > seen + 50, "some reports")  # type: ignore[misc]
                process.kill()
            subscriber.wait(
                lambda messages, number=number: _states(messages).count("offline") == number,  # type: ignore[misc]
                "the last will",
            )
        with _start_device(tmp_path, broker.port, boots[2], reports) as process:
            output, _ = process.communicate(timeout=_WAIT_S)
            assert process.returncode == 0, output
        messages = subscriber.wait(lambda messages: _states(messages).count("offline") == 3, "the goodbye")
    seqs = {seq for _, _, seq in _identities(messages)}
    assert seqs == set(range(1, max(seqs) + 1)), "a report is missing"
    assert [boot for _, boot, _ in _identities(messages)].count(boots[2]) == reports
    spool = Spool(tmp_path / SPOOL_NAME, 100_000)
    assert spool.next_batch(1) == []
    spool.close()
    _check_schemas(messages)


def _start_device(folder: Path, port: int, boot: str, reports: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.fakes.sending_device", str(folder), str(port), boot, str(reports)]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_an_exception_in_a_callback_does_not_stop_the_delivery(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    genuine = Connection._on_publish
    calls = 0

    def faulty(self: Connection, client: object, data: object, mid: int, reason: object, more: object) -> None:
        nonlocal calls
        calls += 1
        if calls in (3, 20):
            raise RuntimeError("a fault planted in the callback")
        genuine(self, client, data, mid, reason, more)

    monkeypatch.setattr(Connection, "_on_publish", faulty)
    with Subscriber(broker.port) as subscriber, SendingDevice(tmp_path, _config(broker.port)) as device:
        expected = device.report(60)
        subscriber.wait(_has_all(expected), "all reports")
        _until(lambda: device.spool.waiting() == 0, "an empty spool")
        assert device.thread.is_alive()
    assert calls > 60
    assert "a fault planted in the callback" in caplog.text


def test_the_status_is_retained_and_an_orderly_stop_says_offline_once(tmp_path: Path, broker: Broker) -> None:
    with Subscriber(broker.port, _STATUS) as subscriber:
        with SendingDevice(tmp_path, _config(broker.port)):
            subscriber.wait(lambda messages: _states(messages) == ["online"], "online")
            with Subscriber(broker.port, _STATUS, client_id="late") as late:
                [status] = late.wait(lambda messages: len(messages) == 1, "the retained status")
                assert (status.is_retained, status.fields["state"]) == (True, "online")
        subscriber.wait(lambda messages: "offline" in _states(messages), "offline")
        subscriber.settle()
        messages = subscriber.messages
    assert _states([message for message in messages if not message.is_retained]) == ["online", "offline"]
    _check_schemas(messages)


def test_a_report_made_just_before_the_stop_is_still_sent(tmp_path: Path, broker: Broker) -> None:
    with Subscriber(broker.port) as subscriber:
        with SendingDevice(tmp_path, _config(broker.port)) as device:
            _until(lambda: device.health.is_connected, "the connection")
            expected = device.report(1)
            device.stop.set()
        messages = subscriber.wait(lambda messages: "offline" in _states(messages), "offline")
    assert set(_identities(messages)) == expected


@pytest.fixture
def swallowing_port() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops every further SYN, as a black hole does."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


def _assert_stops_promptly(device: SendingDevice) -> None:
    device.stop.set()
    device.thread.join(_STOP_S)
    assert not device.thread.is_alive()


def test_a_stop_is_prompt_while_dialling_a_host_that_swallows_packets(tmp_path: Path, swallowing_port: int) -> None:
    with SendingDevice(tmp_path, _config(swallowing_port)) as device:
        _until(lambda: device.beats > 2, "some turns of dialling")
        assert device.health.error == "", "the dial is not over yet"
        _assert_stops_promptly(device)


def test_a_host_that_swallows_packets_is_named_as_such_and_the_heart_beats_on(
    tmp_path: Path, swallowing_port: int
) -> None:
    with SendingDevice(tmp_path, _config(swallowing_port)) as device:
        _until(lambda: device.health.error == "no answer within 5 s", "the end of the dial")
        assert device.beats > 5


def test_a_stop_is_prompt_while_a_connected_broker_is_silent(tmp_path: Path, broker: Broker) -> None:
    with Gate(broker.port) as gate, SendingDevice(tmp_path, _config(gate.port)) as device:
        _until(lambda: device.health.is_connected, "the connection")
        gate.jam()
        device.report(20)
        _assert_stops_promptly(device)


def test_a_stop_is_prompt_while_waiting_to_dial_again(tmp_path: Path) -> None:
    with SendingDevice(tmp_path, _config(free_port(), reconnect_max_s=300.0)) as device:
        _until(lambda: device.health.error == "connection refused", "the refusal")
        _assert_stops_promptly(device)


def test_a_broker_that_no_longer_acknowledges_is_left_and_called_again(tmp_path: Path, broker: Broker) -> None:
    with ExitStack() as stack:
        subscriber = stack.enter_context(Subscriber(broker.port))
        gate = stack.enter_context(Gate(broker.port))
        device = stack.enter_context(SendingDevice(tmp_path, _config(gate.port), acknowledge_s=0.3))
        _until(lambda: device.health.is_connected, "the connection")
        gate.jam()
        expected = device.report(5)
        _until(lambda: device.health.error.startswith("no acknowledgement"), "the end of patience")
        gate.open()
        subscriber.wait(_has_all(expected), "all reports")
        _until(lambda: device.spool.waiting() == 0, "an empty spool")


def test_a_host_that_does_not_speak_mqtt_is_named_as_such(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_WAIT_S)
        with SendingDevice(tmp_path, _config(server.getsockname()[1])) as device:
            for _ in range(4):  # twice with each version
                link, _ = server.accept()
                with link:
                    link.sendall(b"\x20\x01HTTP/1.1 400 Bad Request\r\n\r\n")
                    assert link.recv(100), "the CONNECT"
            _until(lambda: "does not speak MQTT" in device.health.error, "the verdict")
            assert device.thread.is_alive()


def test_a_wrong_password_is_told_and_a_right_one_works_at_the_next_dial(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker", users={"kiosk": "right", "reader": "r"}))
        config = _config(broker.port, username="kiosk", password_file=str(secret))
        device = stack.enter_context(SendingDevice(tmp_path, config))
        device.report(1)
        _until(lambda: device.health.error == f"password file {secret} cannot be read: No such file or directory", "it")
        secret.write_text("wrong\n")
        _until(lambda: device.health.error.startswith("not authorised"), "the refusal")
        secret.write_text("right\n")
        _until(lambda: device.health.delivered == 1, "the delivery")
        assert device.health.error == ""


def test_two_devices_with_one_id_are_told_so(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "twin").mkdir()
    with ExitStack() as stack:
        device = stack.enter_context(SendingDevice(tmp_path, _config(broker.port)))
        stack.enter_context(SendingDevice(tmp_path / "twin", _config(broker.port)))
        _until(lambda: f"has another device the id {DEVICE}?" in device.health.error, "the suspicion")


def test_a_spool_that_cannot_forget_is_told_and_nothing_is_sent_twice_for_it(tmp_path: Path, broker: Broker) -> None:
    with ExitStack() as stack:
        subscriber = stack.enter_context(Subscriber(broker.port))
        gate = stack.enter_context(Gate(broker.port))
        device = stack.enter_context(SendingDevice(tmp_path, _config(gate.port)))
        _until(lambda: device.health.is_connected, "the connection")
        gate.jam()
        expected = device.report(1)
        _until(lambda: len(device.publisher._in_flight) == 1, "the report on the wire")
        shell = stack.enter_context(closing(sqlite3.connect(tmp_path / SPOOL_NAME, isolation_level=None)))
        shell.execute("BEGIN IMMEDIATE")  # as a technician's sqlite3 shell may
        gate.open()
        _until(lambda: "locked" in device.health.error, "the trouble with the spool")
        assert (device.health.is_connected, device.health.waiting, device.health.delivered) == (True, 1, 1)
        shell.execute("ROLLBACK")
        expected |= device.report(1)
        messages = subscriber.wait(_has_all(expected), "both reports")
        _until(lambda: device.spool.waiting() == 0 and device.health.error == "", "the recovery")
    assert set(_identities(messages).values()) == {1}


class _ForgetlessSpool(Spool):
    """A spool on a disk that can be read but, for a while, not written."""

    is_stuck = True

    def delete(self, *seqs: int) -> None:
        if self.is_stuck:
            raise SpoolError("database or disk is full")
        super().delete(*seqs)


def test_what_was_delivered_but_not_forgotten_is_not_sent_again_on_the_next_connection(
    tmp_path: Path, broker: Broker
) -> None:
    spool = _ForgetlessSpool(tmp_path / SPOOL_NAME, 100)
    with ExitStack() as stack:
        subscriber = stack.enter_context(Subscriber(broker.port))
        gate = stack.enter_context(Gate(broker.port))
        device = stack.enter_context(SendingDevice(tmp_path, _config(gate.port), spool=spool))
        expected = device.report(1)
        _until(lambda: "disk is full" in device.health.error, "the trouble with the spool")
        gate.shut()
        _until(lambda: not device.health.is_connected, "the loss of the connection")
        gate.open()
        subscriber.wait(lambda messages: _states(messages).count("online") == 2, "the next connection")
        spool.is_stuck = False
        expected |= device.report(1)
        messages = subscriber.wait(_has_all(expected), "both reports")
        _until(lambda: device.spool.waiting() == 0, "an empty spool")
    assert set(_identities(messages).values()) == {1}


def test_a_description_for_home_assistant_is_retained_and_taken_away_when_it_is_no_longer_wanted(
    tmp_path: Path, broker: Broker
) -> None:
    topics = Topics("default", DEVICE)
    topic, description = home_assistant.topic("ha", topics), home_assistant.description(topics, "0.1.0")
    with Subscriber(broker.port, topic) as subscriber:
        with SendingDevice(tmp_path, _config(broker.port), announced={topic: description}):
            subscriber.wait(lambda messages: len(messages) == 1, "the description")
            with Subscriber(broker.port, topic, client_id="late") as late:
                [retained] = late.wait(lambda messages: len(messages) == 1, "the retained description")
                assert (retained.is_retained, retained.payload) == (True, description)
        with SendingDevice(tmp_path, _config(broker.port)):
            subscriber.wait(lambda messages: [each.payload for each in messages] == [description, b""], "the removal")
            _until(lambda: not (tmp_path / ANNOUNCED_NAME).exists(), "the end of its memory")
        with SendingDevice(tmp_path, _config(broker.port)) as device:
            _until(lambda: device.health.is_connected, "the connection")
        subscriber.settle()
        assert len(subscriber.messages) == 2, "who never wanted it writes to no topic but its own"
