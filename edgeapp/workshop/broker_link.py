"""The operator's connection to the broker: listens and publishes with QoS 1, and comes back by itself.

Owns a paho client, driven by the caller's thread in `turn`; there is no other thread. A message is acknowledged only
after `keep` has returned, so what was not kept is sent again. A message to publish is asked for by key, sent again
after each reconnect until the broker has acknowledged it, and then named by `take_delivered`. A new connection is a new
client, as on the device. MQTT 3.1.1, which all brokers speak.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edgeapp.config import MqttConfig
from edgeapp.errors import BrokerError
from edgeapp.messaging import tls
from edgeapp.messaging.connection import in_words

_RETRY_S = 1.0
_IN_FLIGHT = 20
_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came."""

    topic: str
    payload: bytes


class BrokerLink:
    """Use as a context. All calls come from one thread."""

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        topics: Sequence[str],
        keep: Callable[[list[Message]], None],
        *,
        keeps_session: bool,
    ) -> None:
        """`keep` makes messages durable. With `keeps_session` the broker keeps for us what comes while we are away."""
        self._config, self._client_id, self._topics, self._keep = config, client_id, topics, keep
        self._keeps_session = keeps_session
        self._client: paho.Client | None = None
        self._retry_at_s = 0.0
        self._trouble = "not tried yet"
        self._listening_since_s: float | None = None
        self._arrived: list[tuple[int, int, Message]] = []
        self._outbox: dict[str, tuple[str, bytes]] = {}
        self._in_flight: dict[int, tuple[str, bytes]] = {}  # by paho's id: which key, with what
        self._delivered: list[str] = []

    def __enter__(self) -> BrokerLink:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._drop("disconnected")

    @property
    def listening_since_s(self) -> float | None:
        """Since when the broker has us subscribed, Unix seconds; None while it has not."""
        return self._listening_since_s

    @property
    def trouble(self) -> str:
        """Why there is no connection, in words; empty while there is one."""
        return self._trouble

    def send(self, key: str, topic: str, payload: bytes) -> None:
        """Publish, retained. What was asked for under the same key before and was not delivered yet is forgotten."""
        self._outbox[key] = (topic, payload)

    def is_sending(self, key: str) -> bool:
        """Whether a message of this key waits for its acknowledgement."""
        return key in self._outbox

    def take_delivered(self) -> list[str]:
        """The keys that the broker acknowledged since the last call."""
        taken, self._delivered = self._delivered, []
        return taken

    def connect(self) -> None:
        """Turn until the broker has us subscribed.

        Raises:
            BrokerError: it has not in ten seconds.
        """
        deadline_s = time.monotonic() + _CONNECT_S
        while self._listening_since_s is None:
            if time.monotonic() > deadline_s:
                where = f"{self._config.host}:{self._config.port}"
                raise BrokerError(f"broker {where}: expected to connect, found: {self._trouble or 'no answer'}")
            self.turn(0.1)

    def end_session(self) -> None:
        """Have the broker forget us and what it keeps for us.

        Raises:
            BrokerError: it cannot be reached.
        """
        self._keeps_session = False
        self._drop("session ends")
        self._retry_at_s = 0.0
        self.connect()

    def turn(self, timeout_s: float) -> None:
        """Do what the network has for us, waiting up to `timeout_s`; keep and acknowledge what came."""
        if self._client is None:
            if time.monotonic() < self._retry_at_s:
                time.sleep(min(timeout_s, self._retry_at_s - time.monotonic() + 0.01))
                return
            self._dial()
        client = self._client
        if client is None:
            return
        self._publish(client)
        try:
            result = client.loop(timeout_s)
        except BrokerError:
            raise
        except Exception as error:  # paho raises many kinds on bytes that are not MQTT
            self._drop(self._in_words(error))
            return
        self._keep_arrived(client)
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._drop(self._trouble or "connection lost")

    def _dial(self) -> None:
        config = self._config
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=not self._keeps_session,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        client.on_message, client.on_publish = self._on_message, self._on_publish
        try:
            if config.username is not None:
                secret = Path(config.password_file).read_text().rstrip("\r\n") if config.password_file else None
                client.username_pw_set(config.username, secret)
            if config.tls.enabled:
                client.tls_set_context(tls.make_context(config.tls, self._note_trouble))
            client.connect(config.host, config.port, config.keepalive_s)
        except (OSError, ValueError) as error:
            self._drop(self._in_words(error))
            return
        self._client, self._trouble = client, ""

    def _drop(self, reason: str) -> None:
        """Throw the client away; what is unacknowledged comes again, both ways."""
        link = None if self._client is None else self._client.socket()
        if link is not None:
            link.close()
        self._client, self._listening_since_s, self._trouble = None, None, reason
        self._in_flight.clear()
        self._arrived.clear()
        self._retry_at_s = time.monotonic() + _RETRY_S

    def _publish(self, client: paho.Client) -> None:
        if self._listening_since_s is None:
            return
        flying = list(self._in_flight.values())
        for key, (topic, payload) in self._outbox.items():
            if len(self._in_flight) >= _IN_FLIGHT:
                break
            if (key, payload) not in flying:
                mid = client.publish(topic, payload, qos=1, retain=True).mid
                self._in_flight[mid] = (key, payload)

    def _keep_arrived(self, client: paho.Client) -> None:
        if self._arrived:
            self._keep([message for _, _, message in self._arrived])
            for mid, qos, _ in self._arrived:
                client.ack(mid, qos)
            self._arrived.clear()

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLError):
            return tls.in_words(error, has_certificate=self._config.tls.cert_file is not None)
        return in_words(error)

    def _note_trouble(self, error: ssl.SSLError) -> None:
        self._trouble = self._in_words(error)

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _more: object
    ) -> None:
        if reason.is_failure:
            self._trouble = f"refused: {str(reason).lower()}"
        else:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self, _client: object, _data: object, _mid: int, reasons: list[ReasonCode], _more: object
    ) -> None:
        refused = [topic for topic, reason in zip(self._topics, reasons, strict=True) if reason.is_failure]
        if refused:
            raise BrokerError(f"broker: expected to let us read {', '.join(refused)}, found it refused")
        self._listening_since_s = time.time()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self._arrived.append((message.mid, message.qos, Message(message.topic, bytes(message.payload))))

    def _on_publish(self, _client: object, _data: object, mid: int, _reason: ReasonCode, _more: Any) -> None:
        key, payload = self._in_flight.pop(mid, ("", b""))
        if key in self._outbox and self._outbox[key][1] == payload:
            del self._outbox[key]
            self._delivered.append(key)
