"""The operator's connection against a real broker: what it promises when the line or the broker goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeapp.config import MqttConfig
from edgeapp.errors import BrokerError
from edgeapp.workshop import broker_link
from edgeapp.workshop.broker_link import BrokerLink, Message
from tests.fakes.broker import Broker, free_port
from tests.fakes.subscriber import Subscriber


def _link(port: int, keep: Callable[[list[Message]], None], client_id: str = "operator") -> BrokerLink:
    config = MqttConfig(host="127.0.0.1", port=port)
    return BrokerLink(config, client_id, ["told/#"], keep, keeps_session=True)


def _turn_until(link: BrokerLink, is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s, "waited 60 s"
        link.turn(0.05)


def test_what_was_not_kept_comes_again(tmp_path: Path) -> None:
    def fail(_: list[Message]) -> None:
        raise OSError("disk full")

    kept: list[Message] = []
    with Broker(tmp_path) as broker:
        first = _link(broker.port, fail)
        first.connect()
        with _link(broker.port, kept.extend, "device") as device:
            device.connect()
            device.send("key", "told/a", b"1")
            _turn_until(device, lambda: device.take_delivered() == ["key"])
        with pytest.raises(OSError, match="disk full"):
            _turn_until(first, lambda: False)
        kept.clear()
        with _link(broker.port, kept.extend) as second:
            _turn_until(second, lambda: Message("told/a", b"1") in kept)


def test_what_is_sent_while_the_broker_is_away_arrives_and_only_the_newest_of_a_key(tmp_path: Path) -> None:
    with Broker(tmp_path) as broker, _link(broker.port, lambda _: None) as link:
        link.connect()
        broker.kill()
        _turn_until(link, lambda: link.listening_since_s is None)
        assert link.trouble
        link.send("key", "order", b"old")
        link.send("key", "order", b"new")
        broker.start()
        delivered: list[str] = []
        _turn_until(link, lambda: bool(delivered.extend(link.take_delivered()) or delivered))
        with Subscriber(broker.port, "order") as subscriber:
            (message,) = subscriber.wait(lambda got: len(got) == 1, "the order")
        assert (message.payload, message.is_retained, delivered) == (b"new", True, ["key"])


def test_a_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_link, "_CONNECT_S", 0.2)
    with pytest.raises(BrokerError, match="connection refused"), _link(free_port(), lambda _: None) as link:
        link.connect()
