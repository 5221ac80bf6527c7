"""MQTT 5 where the broker has it, 3.1.1 otherwise, and what MQTT 5 lets a broker say."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from edgeapp.config import MqttConfig
from edgeapp.messaging.connection import Connection
from tests.fakes import packets
from tests.fakes.broker import Broker, free_port, wait_for_port
from tests.fakes.gate import Gate
from tests.fakes.sending_device import DEVICE, SendingDevice

_WAIT_S = 60.0
_UNSUPPORTED = b"\x20\x02\x00\x01"  # 3.1.1's CONNACK: unacceptable protocol version


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each connection spoke, in order."""
    found: list[str] = []
    dial = Connection._dial

    def noting(self: Connection) -> None:
        found.append(self.way)
        dial(self)

    monkeypatch.setattr(Connection, "_dial", noting)
    return found


def _config(port: int) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, reconnect_max_s=1.0)


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited {_WAIT_S:.0f} s for {what}"
        time.sleep(0.01)


def test_a_broker_with_mqtt_5_is_spoken_to_with_it(tmp_path: Path, broker: Broker, ways: list[str]) -> None:
    with SendingDevice(tmp_path, _config(broker.port)) as device:
        device.report(20)
        _until(lambda: device.health.delivered == 20, "20 deliveries")
    assert ways == ["MQTT 5"]


@pytest.mark.parametrize("answer", [_UNSUPPORTED, b""], ids=["refuses", "hangs up"])
def test_a_broker_without_mqtt_5_is_called_again_at_once_and_remembered(
    tmp_path: Path, broker: Broker, ways: list[str], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    monkeypatch.setattr("edgeapp.messaging.mqtt._FIRST_RETRY_S", 3600.0)  # whoever waits for a retry waits in vain
    with ExitStack() as stack:
        gate = stack.enter_context(Gate(broker.port, answer_to_v5=answer))
        device = SendingDevice(tmp_path, MqttConfig(host=gate.host, port=gate.port, reconnect_max_s=3600.0))
        stack.enter_context(device)
        device.report(20)
        _until(lambda: device.health.delivered == 20, "20 deliveries")
        assert ways == ["MQTT 5", "MQTT 3.1.1"]
        monkeypatch.setattr(device.publisher._backoff, "next_s", lambda: 0.05)
        gate.shut()
        _until(lambda: len(ways) > 3, "dials in vain")
        gate.open()
        _until(lambda: device.health.is_connected, "the next connection")
        assert set(ways[1:]) == {"MQTT 3.1.1"}


def test_a_broker_that_hung_up_for_another_reason_is_asked_for_mqtt_5_again(
    tmp_path: Path, broker: Broker, ways: list[str]
) -> None:
    with Gate(broker.port) as gate:
        gate.shut()
        with SendingDevice(tmp_path, _config(gate.port)) as device:
            _until(lambda: len(ways) >= 3, "a call with each version, and another")
            gate.open()
            _until(lambda: device.health.is_connected, "the connection")
    assert ways[:3] == ["MQTT 5", "MQTT 3.1.1", "MQTT 5"]


def test_a_bad_link_does_not_make_a_broker_of_mqtt_5_an_old_one(
    tmp_path: Path, broker: Broker, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 3.1.1 a refused report would be taken for delivered, for as long as the daemon runs."""
    monkeypatch.setattr("edgeapp.messaging.mqtt._UNWELCOME", 2)
    with Gate(broker.port) as gate, SendingDevice(tmp_path, _config(gate.port)) as device:
        _until(lambda: device.health.is_connected, "a connection")
        gate.shut()
        _until(lambda: len(ways) >= 5, "four more dials")
        gate.open()
        _until(lambda: device.health.is_connected, "a connection")
        device.report(1)
        _until(lambda: device.health.delivered == 1, "a delivery")
        dialled = len(ways)
        gate.shut()
        _until(lambda: not device.health.is_connected, "the end of it")
        gate.open()
        _until(lambda: device.health.is_connected, "a connection")
    assert ways[:4] == ["MQTT 5"] * 4, "the first, and two that seemed unwelcome before the third is believed"
    assert "MQTT 3.1.1" in ways[4:], "another broker may have come in its place"
    assert ways[dialled] == "MQTT 5", "and it is not remembered"


def test_amqtt_which_knows_only_3_1_1_gets_all_reports(tmp_path: Path, ways: list[str]) -> None:
    port = free_port()
    config = tmp_path / "amqtt.yaml"
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}}
    config.write_text(yaml.safe_dump({"listeners": listeners, "plugins": plugins}))
    with (tmp_path / "amqtt.log").open("wb") as log:
        command = [str(Path(sys.executable).parent / "amqtt"), "-c", str(config)]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                wait_for_port(port, process)
                with SendingDevice(tmp_path, _config(port)) as device:
                    device.report(20)
                    _until(lambda: device.health.delivered == 20, "20 deliveries")
            finally:
                process.kill()
    assert ways[-1] == "MQTT 3.1.1"


def test_a_report_that_the_broker_refuses_stays_and_the_reason_is_told(tmp_path: Path) -> None:
    """A broker of 3.1.1 has no word for it: it would acknowledge, and drop the report."""
    rules = tmp_path / "rules"
    rules.write_text(f"topic write edgeapp/v1/default/{DEVICE}/status\n")
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker", options=[f"acl_file {rules}"]))
        device = stack.enter_context(SendingDevice(tmp_path, _config(broker.port)))
        device.report(3)
        _until(lambda: device.health.error != "", "the refusal")
        assert device.health.error == "the broker refuses our reports: not authorized"
        assert (device.health.delivered, device.health.waiting) == (0, 3)
        rules.write_text(f"topic write edgeapp/v1/default/{DEVICE}/#\n")
        broker.restart()
        _until(lambda: device.health.delivered == 3, "the deliveries")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0x8E, f"another client took our id: has another device the id {DEVICE}?"),
        (0x8B, "the broker is shutting down"),
        (0x98, "the broker ended it: administrative action"),
    ],
)
def test_why_a_broker_of_mqtt_5_ends_a_connection_is_told(tmp_path: Path, code: int, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_WAIT_S)
        with SendingDevice(tmp_path, _config(server.getsockname()[1])) as device:
            link, _ = server.accept()
            with link, link.makefile("rb") as stream:
                assert packets.read_packet(stream)
                link.sendall(packets.packet(packets.CONNACK, bytes(3)))
                link.sendall(packets.packet(packets.DISCONNECT, bytes([code, 0])))
                _until(lambda: device.health.error == said, f"{said!r}, found {device.health.error!r}")


def test_no_more_is_in_flight_than_the_broker_takes(tmp_path: Path) -> None:
    receive_maximum = 3
    welcome = packets.packet(packets.CONNACK, bytes([0, 0, 3, 0x21, 0, receive_maximum]))  # MQTT 5, 3.2.2.3.3
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(_WAIT_S)
        with SendingDevice(tmp_path, _config(server.getsockname()[1])) as device:
            device.report(10)
            link, _ = server.accept()
            with link, link.makefile("rb", buffering=0) as stream:  # what it does not read stays for select
                link.settimeout(_WAIT_S)
                assert packets.read_packet(stream)
                link.sendall(welcome)
                for _ in range(receive_maximum):
                    assert packets.read_packet(stream), "a message"
                assert not select.select([link], [], [], 0.5)[0], "one too many"
                link.sendall(packets.packet(packets.PUBACK, b"\x00\x01"))
                assert packets.read_packet(stream), "the next message"
