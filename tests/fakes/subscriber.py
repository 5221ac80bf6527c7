"""A reader of a broker that keeps all it gets, and comes back when the broker was away; and a way to say something."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

_WAIT_S = 60.0
_MARKER = "marker"


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came."""

    topic: str
    payload: bytes
    is_retained: bool

    @property
    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = json.loads(self.payload)
        return fields


class Subscriber:
    """Subscribed with QoS 0, so that it never writes: what reached its socket before a broker's death is still read."""

    def __init__(
        self,
        broker: int | Path,
        topic: str = "#",
        *,
        client_id: str = "subscriber",
        login: tuple[str, str] | None = None,
    ) -> None:
        """`broker`: its port on loopback, or its Unix socket. `login`: user name and password."""
        self._broker, self._login = broker, login
        self._topic = topic
        self._news = threading.Condition()
        self._messages: list[Received] = []
        self._subscriptions = 0
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=True,
            transport=_transport(broker),
        )
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def __enter__(self) -> Subscriber:
        _connect(self._client, self._broker)
        self._client.loop_start()
        self.wait_subscribed(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def messages(self) -> list[Received]:
        """All messages so far, in the order of their arrival."""
        with self._news:
            return list(self._messages)

    def wait(
        self, is_enough: Callable[[list[Received]], bool], what: str, timeout_s: float = _WAIT_S
    ) -> list[Received]:
        """Wait until the messages satisfy `is_enough`.

        Raises:
            AssertionError: they did not in time.
        """
        with self._news:
            is_there = self._news.wait_for(lambda: is_enough(self._messages), timeout_s)
            assert is_there, f"waited {timeout_s:.0f} s for {what}, got {len(self._messages)} messages"
            return list(self._messages)

    @property
    def subscriptions(self) -> int:
        """How often the broker has confirmed the subscription."""
        with self._news:
            return self._subscriptions

    def settle(self) -> None:
        """Wait until the broker has dealt with all that clients did before this call."""
        with Subscriber(self._broker, _MARKER, client_id="marker", login=self._login) as marker:
            marker._client.publish(_MARKER)
            marker.wait(lambda messages: len(messages) == 1, "the marker")
            # The round trips above gave the broker time to see every end of a connection; this one is in line here.
            before = self._subscriptions
            self._client.subscribe(self._topic, qos=0)
            self.wait_subscribed(before + 1)

    def wait_subscribed(self, times: int) -> None:
        """Wait until the broker has confirmed the subscription for the `times`-th time."""
        with self._news:
            assert self._news.wait_for(lambda: self._subscriptions >= times, _WAIT_S), "the broker does not answer"

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        client.subscribe(self._topic, qos=0)

    def _on_subscribe(self, *_: object) -> None:
        with self._news:
            self._subscriptions += 1
            self._news.notify_all()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        with self._news:
            self._messages.append(Received(message.topic, bytes(message.payload), message.retain))
            self._news.notify_all()


def publish(broker: int | Path, topic: str, content: bytes, *, login: tuple[str, str]) -> None:
    """Publish one message, retained. `broker` and `login` are as those of a Subscriber."""
    client = paho.Client(CallbackAPIVersion.VERSION2, transport=_transport(broker))
    client.username_pw_set(*login)
    _connect(client, broker)
    client.loop_start()
    client.publish(topic, content, qos=1, retain=True).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


def _transport(broker: int | Path) -> Literal["tcp", "unix"]:
    return "unix" if isinstance(broker, Path) else "tcp"


def _connect(client: paho.Client, broker: int | Path) -> None:
    if isinstance(broker, Path):
        client.connect(str(broker))
    else:
        client.connect("127.0.0.1", broker)
