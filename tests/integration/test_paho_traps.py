"""What paho does when it is used plainly, and that the publisher does not.

Each trap is sprung first, so that a later paho without it is noticed. Its cure is the test below it, or one of
test_mqtt.py: an exception in a callback (test_an_exception_in_a_callback_does_not_stop_the_delivery), a message queued
offline (test_reports_that_waited_for_the_broker_arrive_once), twins (test_two_devices_with_one_id_are_told_so).
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgeapp.config import MqttConfig
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from tests.fakes.broker import Broker, free_port
from tests.fakes.sending_device import SendingDevice
from tests.fakes.subscriber import Received, Subscriber

_WAIT_S = 60.0
_ROOT = Path(__file__).parents[2]
_PLAIN_CLIENT = """
import sys, paho.mqtt.client as paho
client = paho.Client(paho.CallbackAPIVersion.VERSION2, "device", clean_session=False)
client.connect_async("127.0.0.1", int(sys.argv[1]))
client.loop_start()
for number in range(int(sys.argv[2])):
    client.publish("reports", str(number), qos=1)
print("all reports are published", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


def _plain(name: str = "device") -> paho.Client:
    return paho.Client(CallbackAPIVersion.VERSION2, name)


def _config(port: int) -> MqttConfig:
    return MqttConfig(host="127.0.0.1", port=port, reconnect_max_s=1.0)


def _until(is_so: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited {_WAIT_S:.0f} s for {what}"
        time.sleep(0.01)


def _sequence(messages: list[Received]) -> list[int]:
    return [message.fields["seq"] for message in messages if message.topic.endswith("/telemetry")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_trap_an_exception_in_a_callback_ends_the_network_thread_and_nobody_is_told(broker: Broker) -> None:
    heard = threading.Event()

    def fail(*_: object) -> None:
        heard.set()
        raise RuntimeError("a fault planted in the callback")

    client = _plain()
    client.on_message = fail
    client.connect("127.0.0.1", broker.port)
    client.subscribe("commands")
    client.loop_start()
    thread = client._thread
    assert thread is not None
    _until(client.is_connected, "the connection")
    with Subscriber(broker.port) as other:
        other._client.publish("commands", "first")
        assert heard.wait(_WAIT_S)
        _until(lambda: not thread.is_alive(), "the end of the thread")
        assert client.is_connected(), "and it still says so"
        heard.clear()
        other._client.publish("commands", "second")
        other.settle()
    assert not heard.is_set()


def test_trap_a_publish_that_fails_for_lack_of_a_connection_is_queued_so_a_retry_doubles_it(broker: Broker) -> None:
    with Subscriber(broker.port, "reports") as subscriber:
        client = _plain()
        for _ in range(2):
            assert client.publish("reports", "the only one", qos=1).rc == MQTTErrorCode.MQTT_ERR_NO_CONN
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        subscriber.wait(lambda messages: len(messages) == 2, "both")
        client.disconnect()
        client.loop_stop()


def test_trap_what_is_published_while_the_broker_is_away_piles_up_without_end() -> None:
    client = _plain()
    client.connect_async("127.0.0.1", free_port())
    for _ in range(20_000):
        client.publish("reports", "x", qos=1)
    assert len(client._out_messages) == 20_000


def test_reports_beyond_the_spool_drop_the_oldest_and_paho_holds_none(tmp_path: Path) -> None:
    spool = Spool(tmp_path / SPOOL_NAME, 50)
    with SendingDevice(tmp_path, _config(free_port()), spool=spool) as device:
        device.report(300)
        _until(lambda: device.health.error == "connection refused", "a failed dial")
        assert (device.health.waiting, spool.lost()) == (50, 250)
        assert [seq for seq, _, _ in spool.next_batch(1)] == [251]
        assert device.publisher._in_flight == {}


def test_trap_disconnect_overtakes_what_is_queued(broker: Broker) -> None:
    reports = 5_000
    with Subscriber(broker.port, "reports") as subscriber:
        client = _plain()
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        _until(client.is_connected, "the connection")
        for number in range(reports):
            client.publish("reports", str(number), qos=1)
        client.disconnect()
        client.loop_stop()
        subscriber.settle()
        assert len(subscriber.messages) < reports


def test_what_a_stop_leaves_unsent_stays_in_the_spool(tmp_path: Path, broker: Broker) -> None:
    reports = 500
    with Subscriber(broker.port) as subscriber:
        with SendingDevice(tmp_path, _config(broker.port)) as device:
            device.report(reports)
            device.stop.set()
        with SendingDevice(tmp_path, _config(broker.port)):
            subscriber.wait(lambda messages: set(_sequence(messages)) == set(range(1, reports + 1)), "the rest")


def test_trap_what_a_client_holds_dies_with_it(broker: Broker) -> None:
    broker.kill()
    with _started("-c", _PLAIN_CLIENT, str(broker.port), "100") as process:
        assert "published" in _line(process)
        process.kill()
    broker.start()
    with Subscriber(broker.port, "reports") as subscriber:
        client = paho.Client(CallbackAPIVersion.VERSION2, "device", clean_session=False)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        _until(client.is_connected, "the same client, come back")
        client.publish("reports", "after the restart", qos=1).wait_for_publish(_WAIT_S)
        subscriber.wait(lambda messages: len(messages) == 1, "what came after")
        subscriber.settle()
        client.disconnect()
        client.loop_stop()
        assert [message.payload for message in subscriber.messages] == [b"after the restart"]


def test_what_a_device_reported_in_an_outage_survives_its_own_death(tmp_path: Path, broker: Broker) -> None:
    broker.kill()
    device = ("-m", "tests.fakes.sending_device", str(tmp_path), str(broker.port))
    with _started(*device, "a" * 16, "100") as process:
        assert "in the spool" in _line(process)
        process.kill()
    broker.start()
    with Subscriber(broker.port) as subscriber, _started(*device, "b" * 16, "1"):
        messages = subscriber.wait(lambda messages: len(set(_sequence(messages))) == 101, "all reports")
    assert Counter(message.fields["boot"][0] for message in messages if "telemetry" in message.topic)["a"] == 100


def test_trap_two_clients_with_one_id_throw_each_other_out_and_cannot_tell_why(broker: Broker) -> None:
    reasons: list[str] = []
    twins = [_plain("twin"), _plain("twin")]
    for client in twins:
        client.reconnect_delay_set(1, 1)
        client.on_disconnect = lambda _client, _data, _flags, reason, _more: reasons.append(str(reason))
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
    _until(lambda: len(reasons) >= 2, "the second turn")
    for client in twins:
        client.loop_stop()
    assert set(reasons) == {"Unspecified error"}


def _started(*arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *arguments], cwd=_ROOT, stdin=pipe, stdout=pipe, text=True)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()
