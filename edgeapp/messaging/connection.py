"""One connection to the broker: made, used until it ends, and thrown away.

Owns a paho client and its socket. A new connection is a new client, so nothing that paho queued for an old one is sent
a second time. Leaves to `mqtt.py` what is published, when to connect again, and the times to wait.

There is no network thread of paho's: its network calls are made in `turn`, by the one thread that also publishes. So
no such thread can die unnoticed while `is_connected()` stays true. Only the dialling, whose name lookup nobody can
interrupt, runs in a short-lived thread of its own; a connection that was dropped meanwhile is closed there.

MQTT 5 or 3.1.1, as the caller says; clean session, and nothing that only some brokers have. Of MQTT 5 only its plainer
words are used: why the broker refuses or ends something, and how many messages it takes at once.
"""

from __future__ import annotations

import errno
import logging
import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeapp.config import MqttConfig
from edgeapp.messaging import tls
from edgeapp.messaging.endings import LOST, TAKEN_OVER, LastWill
from edgeapp.system import credentials

_LOGGER = logging.getLogger(__name__)
_CONNECT_S = 5.0  # to each address of the host
_CONNACK_S = 10.0  # from the open socket to the broker's welcome
_CONNACK_V5_S = 3.0  # some brokers of 3.1.1 say nothing at all to MQTT 5 (amqtt 0.11 waits for more)
_MAX_PACKET_BYTES = 256 * 1024  # the longest that is of use to us is a block of a file, 64 KiB
_NOT_MQTT = "what answers does not speak MQTT"
_SILENT = "connected, but no answer within"
_EARLY = "closed before the broker's welcome"
_TOO_NEW = "the broker does not speak this version of MQTT"
_ENDS = {"Keep alive timeout": "no answer to the keep-alive", "Protocol error": _NOT_MQTT}  # paho's names
_FAREWELLS = {139: "the broker is shutting down", 142: TAKEN_OVER}  # MQTT 5's DISCONNECT
_DEFAULT_RECEIVE_MAXIMUM = 65535  # MQTT 5, 3.2.2.3.3; 3.1.1 knows no limit
# CONNACK's reason codes of MQTT 5; paho translates the return codes 1 to 5 of 3.1.1 into them.
_REFUSALS = {
    132: _TOO_NEW,
    133: "the broker refuses this client id",
    136: "the broker is not available",
    134: "not authorised: user name or password is wrong",
    135: "not authorised",
}
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)
_WORDS = (
    (ConnectionRefusedError, "connection refused"),
    (ConnectionError, LOST),
    (TimeoutError, f"no answer within {_CONNECT_S:.0f} s"),
    (UnicodeError, "not a host name"),
)


@dataclass(frozen=True, slots=True)
class _Welcomed:
    receive_maximum: int


@dataclass(frozen=True, slots=True)
class _Answered:
    mid: int
    refusal: str


@dataclass(frozen=True, slots=True)
class _Ended:
    reason: str


class Connection:
    """Dialling from the start; open once the broker has welcomed us; ended for good after any trouble.

    All calls come from one thread.
    """

    def __init__(
        self,
        config: MqttConfig,
        *,
        client_id: str,
        will: LastWill | None,
        wake: Callable[[], None],
        is_v5: bool = True,
        on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None,
    ) -> None:
        """Begin to dial. Without a `will` the broker says nothing when we go silent.

        `wake` interrupts a `turn` that sleeps; it is called from the dialling thread. `is_v5` chooses between MQTT 5
        and 3.1.1. `on_message` gets topic and payload of what comes on subscribed topics, in `turn`; it must not wait.
        """
        self._config = config
        self._wake = wake
        self._on_message = on_message
        self._is_v5 = is_v5
        self._connack_s = _CONNACK_V5_S if is_v5 else _CONNACK_S
        self._events: queue.SimpleQueue[_Welcomed | _Answered | _Ended] = queue.SimpleQueue()
        self._client = self._make_client(client_id, will)
        self._hand_over = threading.Lock()
        self._is_dialled = False
        self._is_dropped = False
        self._dialled_s = 0.0
        self._is_open = False
        self._error = ""
        self._acknowledged: list[int] = []
        self._refused: list[tuple[int, str]] = []
        self._receive_maximum = _DEFAULT_RECEIVE_MAXIMUM
        self._awaited: set[int] = set()
        threading.Thread(target=self._dial, name="mqtt-dial", daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Whether the broker has welcomed us and nothing has gone wrong since."""
        return self._is_open and not self._error

    @property
    def error(self) -> str:
        """Why the connection has ended, in words; empty while it has not."""
        return self._error

    @property
    def wants_older(self) -> bool:
        """Whether the connection ended as one does with a broker that knows MQTT 3.1.1 only."""
        is_so = self._error.startswith((_TOO_NEW, _EARLY, _NOT_MQTT, _SILENT))
        return self._is_v5 and not self._is_open and is_so

    @property
    def room(self) -> int:
        """How many more messages may be published before the broker acknowledges some."""
        return self._receive_maximum - len(self._awaited)

    @property
    def way(self) -> str:
        """What is spoken, in words."""
        return f"MQTT {'5' if self._is_v5 else '3.1.1'}{' over TLS' if self._config.tls.enabled else ''}"

    def turn(self, waker: socket.socket, timeout_s: float) -> None:
        """Do what the network has for us: wait for it up to `timeout_s`, or until `waker` can be read."""
        poller = select.poll()
        poller.register(waker, select.POLLIN)
        link = self._client.socket() if self._is_dialled else None
        # What TLS has decrypted already is no longer in the kernel's buffer, where poll would see it.
        is_pending = isinstance(link, ssl.SSLSocket) and link.pending() > 0
        if link is not None:
            poller.register(link.fileno(), select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
        for descriptor, happened in poller.poll(0 if is_pending else timeout_s * 1000):
            if descriptor == waker.fileno():
                _empty(waker)
                continue
            is_pending |= bool(happened & ~select.POLLOUT)
            if happened & select.POLLOUT:
                self._call_paho(self._client.loop_write)
        if is_pending:
            self._call_paho(self._client.loop_read)
        if link is not None:
            self._call_paho(self._client.loop_misc)
        self._take_events()
        self._judge()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send a message with QoS 1. Returns the id under which `take_acknowledged` will name it. Only while open."""
        mid = self._client.publish(topic, payload, qos=1, retain=retain).mid
        self._awaited.add(mid)
        return mid

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for the messages on these topics, with QoS 1. The broker's answer does not say what it will send."""
        if topics:
            self._client.subscribe([(topic, 1) for topic in topics])

    def unsubscribe(self, topic: str) -> None:
        """Ask for no more of a topic."""
        self._client.unsubscribe(topic)

    def take_acknowledged(self) -> list[int]:
        """The ids that the broker acknowledged since the last call."""
        taken, self._acknowledged = self._acknowledged, []
        return taken

    def take_refused(self) -> list[tuple[int, str]]:
        """The ids that the broker refused since the last call, and why. Only MQTT 5 can say so."""
        taken, self._refused = self._refused, []
        return taken

    def has_answered(self, mid: int) -> bool:
        """Whether the broker has acknowledged or refused a message of this connection."""
        return mid not in self._awaited

    def disconnect(self) -> None:
        """Say goodbye, so that the broker does not send the last will, and drop the connection."""
        if self.is_open:
            self._client.disconnect()
        self.drop("disconnected")

    def drop(self, reason: str) -> None:
        """End the connection at once, also when it is still being dialled."""
        self._end(reason)
        with self._hand_over:
            self._is_dropped = True
            if not self._is_dialled:
                return  # the dialling thread closes what it may still get
        self._close_socket()

    def _make_client(self, client_id: str, will: LastWill | None) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if self._is_v5 else True,  # with MQTT 5 a client's first connection is a clean start
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _CONNECT_S
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._guarded(self._on_connect)
        client.on_publish = self._guarded(self._on_publish)
        client.on_disconnect = self._guarded(self._on_disconnect)
        client.on_message = self._guarded(self._take_message)
        return client

    def _dial(self) -> None:
        reason = ""
        try:
            if self._config.username is not None:
                self._client.username_pw_set(self._config.username, _password(self._config))
            if self._config.tls.enabled:
                self._client.tls_set_context(tls.make_context(self._config.tls, self._note_trouble))
            limits = Properties(PacketTypes.CONNECT) if self._is_v5 else None  # type: ignore[no-untyped-call]
            if limits is not None:
                limits.MaximumPacketSize = _MAX_PACKET_BYTES  # a broker may not fill our memory
            self._client.connect(self._config.host, self._config.port, self._config.keepalive_s, properties=limits)
        except Exception as error:
            reason = self._in_words(error)
            if not isinstance(error, OSError | ValueError):
                _LOGGER.exception("dialling %s:%d failed unexpectedly", self._config.host, self._config.port)
        if reason:
            self._events.put(_Ended(reason))
        with self._hand_over:
            self._dialled_s = time.monotonic()
            self._is_dialled = True
            is_wanted = not self._is_dropped
        if is_wanted:
            self._wake()
        else:
            self._close_socket()

    def _note_trouble(self, error: ssl.SSLError) -> None:
        self._events.put(_Ended(self._in_words(error)))

    def _in_words(self, error: Exception) -> str:
        settings = self._config.tls
        if isinstance(error, ssl.SSLError):
            return tls.in_words(error, has_certificate=settings.cert_file is not None)
        if settings.enabled and isinstance(error, ConnectionResetError):
            return tls.NO_TLS
        return in_words(error)

    def _call_paho(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            # What answers need not be a broker, and paho raises many kinds of errors on bytes that are not MQTT.
            _LOGGER.warning("the broker's answer cannot be read: %s: %s", type(error).__name__, error)
            self._end(_NOT_MQTT)

    def _take_events(self) -> None:
        while not self._events.empty():
            event = self._events.get_nowait()
            if isinstance(event, _Welcomed):
                self._is_open = True
                self._receive_maximum = event.receive_maximum
            elif isinstance(event, _Answered):
                self._awaited.discard(event.mid)
                if event.refusal:
                    self._refused.append((event.mid, event.refusal))
                else:
                    self._acknowledged.append(event.mid)
            else:
                is_early = event.reason == LOST and not self._is_open
                self._end(f"{_EARLY}: {self._guess()}" if is_early else event.reason)

    def _guess(self) -> str:
        settings = self._config.tls
        if not settings.enabled:
            return "is that port one for TLS? See mqtt.tls"
        wants = "trust our" if settings.cert_file else "want a client"
        return f"does it {wants} certificate? See mqtt.tls.cert_file"

    def _judge(self) -> None:
        if self._error or not self._is_dialled:
            return
        if self._client.socket() is None:
            self._end(LOST)
        elif not self._is_open and time.monotonic() - self._dialled_s > self._connack_s:
            self._end(f"{_SILENT} {self._connack_s:.0f} s")

    def _end(self, reason: str) -> None:
        self._error = self._error or reason

    def _close_socket(self) -> None:
        link = self._client.socket()
        if link is not None:
            link.close()

    def _guarded(self, handle: Callable[..., None]) -> Callable[..., None]:
        """An exception that leaves a callback would leave paho's books half-written: end the connection instead."""

        def call(*arguments: Any) -> None:
            try:
                handle(*arguments)
            except Exception:
                _LOGGER.exception("a callback failed; the connection is made anew")
                self._events.put(_Ended("a callback failed"))

        return call

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: ReasonCode, more: object) -> None:
        if reason.is_failure:
            self._events.put(_Ended(_refusal(reason)))
        else:
            self._events.put(_Welcomed(getattr(more, "ReceiveMaximum", _DEFAULT_RECEIVE_MAXIMUM)))

    def _take_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload))

    def _on_publish(self, _client: object, _data: object, mid: int, reason: ReasonCode, _more: object) -> None:
        self._events.put(_Answered(mid, str(reason).lower() if reason.is_failure else ""))

    def _on_disconnect(
        self, _client: object, _data: object, flags: paho.DisconnectFlags, reason: ReasonCode, _more: object
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._events.put(_Ended(_FAREWELLS.get(reason.value, f"the broker ended it: {str(reason).lower()}")))
        else:
            self._events.put(_Ended(_ENDS.get(reason.getName(), LOST)))


def in_words(error: BaseException) -> str:
    """What a technician can do something with, of an error met while dialling."""
    if isinstance(error, socket.gaierror):
        return "the name server does not answer" if error.errno == socket.EAI_AGAIN else "name not found"
    if isinstance(error, OSError) and error.errno in _NO_ROUTE:
        return "no route"
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return str(error) or type(error).__name__


def _refusal(reason: ReasonCode) -> str:
    return _REFUSALS.get(reason.value, f"refused: {str(reason).lower()}")


def _password(config: MqttConfig) -> str | None:
    if config.password_file is None:
        return None
    try:
        password = credentials.find(config.password_file).read_text().rstrip("\r\n")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ValueError(f"password file {config.password_file} cannot be read: {reason}") from error
    if not password:
        raise ValueError(f"password file {config.password_file} is empty")
    return password


def _empty(waker: socket.socket) -> None:
    with suppress(BlockingIOError):
        while waker.recv(4096):
            pass
