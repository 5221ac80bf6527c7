"""Delivers reports to the broker, each at least once, for as long as the device lives.

Owns the link to the broker: when to connect and reconnect, what is in flight, the retained status. Reports come from
an outbox (the spool) and are deleted there only after the broker's PUBACK; bytes are sent as they were stored.

Guarantees:
- a report is sent again until it was acknowledged, and never queued anywhere but in the outbox and, at most
  `MAX_IN_FLIGHT` of them, on the wire. Doubles happen when an acknowledgement is lost; readers drop them by identity;
- while the broker is away, nothing is handed to paho;
- reconnecting follows full jitter, so that a fleet does not fall upon a broker that has come back;
- a broker that knows MQTT 3.1.1 only is called a second time without a pause, and with that version from then on;
- one that has spoken MQTT 5 is not taken for such a broker because a bad link cut or delayed its welcome;
- a report that the broker refuses (with MQTT 5 it says so) is not taken for delivered;
- a stop is honoured within a second, also while dialling a host that swallows packets.

Not covered: an acknowledgement says that the broker took the report, not that it keeps it through its own crash.
"""

from __future__ import annotations

import ipaddress
import logging
import random
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from edgeapp.config import MqttConfig
from edgeapp.errors import SpoolError
from edgeapp.interfaces import Clock
from edgeapp.messaging.announcements import Announcements
from edgeapp.messaging.endings import LOST, TAKEN_OVER, LastWill
from edgeapp.messaging.topics import Topics
from edgeapp.system.backoff import Backoff

if TYPE_CHECKING:
    from edgeapp.messaging.connection import Connection

_LOGGER = logging.getLogger(__name__)
MAX_IN_FLIGHT = 8
_TICK_S = 0.25  # how often stop and heart are looked after while nothing happens
_FIRST_RETRY_S = 1.0
_STEADY_S = 30.0  # a connection that held this long begins the backoff anew
_UNWELCOME = 5  # times in a row a broker known for MQTT 5 may seem not to know it
_ACKNOWLEDGE_S = 30.0  # 3.1.1 resends only on a new connection, so without an answer one is made
_GOODBYE_S = 0.5
_OUTBOX_RETRY_S = 2.0
_FLAPS = 3  # as many short connections in a row look like two devices with one id


class Outbox(Protocol):
    """Where reports wait. The spool is one."""

    def next_batch(self, limit: int, after_seq: int = 0) -> Sequence[tuple[int, str, bytes]]:
        """Up to `limit` reports numbered above `after_seq`, oldest first, as (seq, kind, bytes). Raises SpoolError."""

    def delete(self, *seqs: int) -> None:
        """Forget delivered reports. Raises SpoolError."""

    def waiting(self) -> int:
        """How many reports wait. Cheap, and never raises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerHealth:
    """How the link to the broker does.

    `since_s` and `last_delivered_s` are seconds since 1970-01-01 UTC; `since_s` says when `is_connected` took its
    value. `error` says in words why there is no connection, or why reports cannot be taken from the outbox; empty when
    all is well. `delivered` counts since the start of the daemon.
    """

    is_connected: bool
    host: str
    port: int
    since_s: float
    error: str
    delivered: int
    last_delivered_s: float | None
    waiting: int


@dataclass(frozen=True, slots=True)
class _State:
    """What `health` is made of: replaced as a whole by the publisher's thread, read by any."""

    is_connected: bool
    since_ns: int
    error: str
    outbox_error: str
    delivered: int
    last_delivered_s: float | None


class Publisher:
    """Empties the outbox into the broker. `run` is one thread's; `wake` and `health` may be called from any."""

    def __init__(
        self,
        config: MqttConfig,
        topics: Topics,
        outbox: Outbox,
        clock: Clock,
        *,
        online: bytes,
        offline: bytes,
        announcements: Announcements,
        subscriptions: Sequence[str] = (),
        on_message: Callable[[bytes], None] = lambda _: None,
        acknowledge_s: float = _ACKNOWLEDGE_S,
    ) -> None:
        """`online` and `offline` are the status messages; the device's id is the client id. `announcements` are
        published with each connection. What comes on the topics `subscriptions` goes to `on_message`, which must not
        wait.
        """
        self._config = config
        self._topics = topics
        self._device = topics.device
        self._outbox = outbox
        self._clock = clock
        self._online = online
        self._will = LastWill(topics.status, offline)
        self._acknowledge_ns = round(acknowledge_s * 1e9)
        self._backoff = Backoff(_FIRST_RETRY_S, config.reconnect_max_s, random.random)
        self._waker, self._wake_end = make_waker()
        self._state = _State(False, clock.monotonic_ns(), "", "", 0, None)
        self._is_v5, self._is_old_broker = True, False
        self._has_spoken_v5, self._unwelcome = False, 0  # since MQTT 5 worked: how often it seemed not to be known
        self._flaps = 0
        self._undeleted: set[int] = set()  # delivered, but the outbox could not forget them yet
        self._outbox_rests_until_ns = 0
        self._announcements = announcements
        self._subscriptions, self._on_message = subscriptions, on_message
        self._announced: dict[int, str] = {}  # by message id: topic
        self._in_flight: dict[int, tuple[int, int]] = {}  # by message id: seq, sent at monotonic ns
        self._sent_up_to = 0
        self._refusal = ""
        self._has_looked = False

    def wake(self) -> None:
        """Say that the outbox has a new report, or that the stop event is set."""
        with suppress(OSError):  # full: the publisher is being woken already; closed: it has ended
            self._wake_end.send(b"\0")

    def health(self) -> BrokerHealth:
        """How the link does at this moment."""
        state = self._state
        # Computed back from now, so that a clock set right after the start does not make it decades.
        elapsed_s = (self._clock.monotonic_ns() - state.since_ns) / 1e9
        return BrokerHealth(
            is_connected=state.is_connected,
            host=self._config.host,
            port=self._config.port,
            since_s=self._clock.wall_s() - elapsed_s,
            error=state.error or state.outbox_error,
            delivered=state.delivered,
            last_delivered_s=state.last_delivered_s,
            waiting=self._outbox.waiting(),
        )

    def run(self, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Connect, deliver, reconnect, until `stop`. Runs once; `beat` is called several times a second."""
        from edgeapp.messaging.connection import Connection  # the MQTT library loads while vision loads the model

        try:
            self._warn_of_open_password()
            while not stop.is_set():
                connection = Connection(
                    self._config,
                    client_id=self._device,
                    will=self._will,
                    wake=self.wake,
                    is_v5=self._is_v5,
                    on_message=lambda _, payload: self._on_message(payload),
                )
                try:
                    self._use(connection, stop, beat)
                finally:
                    connection.drop("the publisher has ended")
                if connection.wants_older and self._may_be_old():
                    self._is_v5 = False
                else:
                    self._wait(stop, beat)
        finally:
            self._waker.close()
            self._wake_end.close()

    def _use(self, connection: Connection, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Serve one connection until it ends or `stop`."""
        self._forget_flight()
        opened_ns: int | None = None
        while not connection.error:
            if stop.is_set():
                self._say_goodbye(connection)
                return
            connection.turn(self._waker, _TICK_S)
            if connection.is_open:
                if opened_ns is None:
                    opened_ns = self._clock.monotonic_ns()
                    self._greet(connection)
                self._settle(connection)
                self._fill(connection)
                self._check_acknowledgements(connection)
            beat()
        self._settle(connection)
        if not connection.wants_older:
            self._note_end(connection, opened_ns)

    def _warn_of_open_password(self) -> None:
        if self._config.username is not None and not self._config.tls.enabled and not _is_loopback(self._config.host):
            _LOGGER.warning("user name and password go to %s unencrypted: see mqtt.tls", self._config.host)

    def _greet(self, connection: Connection) -> None:
        waiting = self._outbox.waiting()
        if self._is_v5:
            self._has_spoken_v5, self._unwelcome = True, 0
        self._is_old_broker = not self._is_v5 and not self._has_spoken_v5
        where = f"{self._config.host}:{self._config.port}"
        _LOGGER.info("connected to %s, %s, %d reports wait", where, connection.way, waiting)
        self._state = replace(self._state, is_connected=True, since_ns=self._clock.monotonic_ns(), error="")
        connection.publish(self._topics.status, self._online, retain=True)
        connection.subscribe(self._subscriptions)
        due = self._announcements.due()
        self._announced = {connection.publish(topic, payload, retain=True): topic for topic, payload in due}

    def _fill(self, connection: Connection) -> None:
        """Send what waits, as far as there is room on the wire."""
        room = min(MAX_IN_FLIGHT - len(self._in_flight), connection.room)
        is_idle = self._has_looked and self._outbox.waiting() <= len(self._in_flight)
        # What is delivered but not deleted would come again with the next batch.
        if room <= 0 or is_idle or self._undeleted or self._outbox_rests():
            return
        try:
            batch = self._outbox.next_batch(room, self._sent_up_to)
        except SpoolError as error:
            self._rest_outbox(error)
            return
        self._has_looked = True
        self._note_outbox_works()
        for seq, kind, payload in batch:
            mid = connection.publish(self._topics.report(kind), payload)
            self._in_flight[mid] = (seq, self._clock.monotonic_ns())
            self._sent_up_to = seq

    def _settle(self, connection: Connection) -> None:
        """Take what the broker acknowledged, and let the outbox forget it."""
        fresh = set()
        for mid in connection.take_acknowledged():
            if mid in self._in_flight:
                fresh.add(self._in_flight.pop(mid)[0])
            elif mid in self._announced:
                self._announcements.note_acknowledged(self._announced.pop(mid))
        self._undeleted |= fresh
        for mid, reason in connection.take_refused():
            if mid in self._in_flight:
                self._refusal = f"the broker refuses our reports: {reason}"
                connection.drop(self._refusal)
            else:
                topic = self._announced.pop(mid, self._topics.status)
                _LOGGER.warning("the broker refuses %s: %s", topic, reason)
        if fresh:
            delivered = self._state.delivered + len(fresh)
            self._state = replace(self._state, delivered=delivered, last_delivered_s=self._clock.wall_s())
        if not self._undeleted or self._outbox_rests():
            return
        try:
            self._outbox.delete(*self._undeleted)
        except SpoolError as error:
            self._rest_outbox(error)
            return
        self._undeleted.clear()
        self._note_outbox_works()

    def _check_acknowledgements(self, connection: Connection) -> None:
        if not self._in_flight:
            return
        oldest_ns = min(sent_ns for _, sent_ns in self._in_flight.values())
        waited_ns = self._clock.monotonic_ns() - oldest_ns
        if waited_ns > self._acknowledge_ns:
            connection.drop(f"no acknowledgement within {waited_ns / 1e9:.0f} s")

    def _say_goodbye(self, connection: Connection) -> None:
        """Leave a retained "offline", for a bounded time; a will alone is not sent after an orderly end."""
        if connection.is_open:
            self._fill(connection)
            goodbye = connection.publish(self._topics.status, self._will.payload, retain=True)
            deadline_ns = self._clock.monotonic_ns() + round(_GOODBYE_S * 1e9)
            while not connection.error and not connection.has_answered(goodbye):
                left_s = (deadline_ns - self._clock.monotonic_ns()) / 1e9
                if left_s <= 0:
                    break
                connection.turn(self._waker, left_s)
                self._settle(connection)
        connection.disconnect()
        self._state = replace(self._state, is_connected=False, since_ns=self._clock.monotonic_ns(), error="stopped")

    def _note_end(self, connection: Connection, opened_ns: int | None) -> None:
        now_ns = self._clock.monotonic_ns()
        error = self._refusal or connection.error  # it may have hung up in the same breath
        if opened_ns is not None:
            is_steady = now_ns - opened_ns >= _STEADY_S * 1e9
            self._flaps = 0 if is_steady else self._flaps + 1
            if is_steady:
                self._backoff.reset()
            if self._flaps >= _FLAPS and error == LOST:  # what a 3.1.1 broker does to twins
                error = f"{LOST} {self._flaps} times soon after connecting: has another device the id {self._device}?"
            elif error == TAKEN_OVER:
                error = f"{TAKEN_OVER}: has another device the id {self._device}?"
        self._is_v5 = not self._is_old_broker
        since_ns = now_ns if self._state.is_connected else self._state.since_ns
        if self._state.is_connected or error != self._state.error:  # else it is the same news again
            _LOGGER.warning("no connection to %s:%d: %s", self._config.host, self._config.port, error)
        self._state = replace(self._state, is_connected=False, since_ns=since_ns, error=error)

    def _may_be_old(self) -> bool:
        """Whether to try MQTT 3.1.1. A broker that spoke MQTT 5 before is more likely out of reach than another one."""
        self._unwelcome += 1
        return not self._has_spoken_v5 or self._unwelcome > _UNWELCOME

    def _wait(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        left_s = 0.0 if stop.is_set() else self._backoff.next_s()
        until_ns = self._clock.monotonic_ns() + round(left_s * 1e9)
        while left_s > 0 and not stop.wait(min(left_s, _TICK_S)):
            beat()
            left_s = (until_ns - self._clock.monotonic_ns()) / 1e9

    def _forget_flight(self) -> None:
        """Nothing is on the wire: what was not acknowledged is sent again, from the oldest on."""
        self._in_flight = {}
        self._sent_up_to = 0
        self._refusal = ""
        self._has_looked = False  # an outbox that was not opened yet does not know how many wait

    def _outbox_rests(self) -> bool:
        return self._clock.monotonic_ns() < self._outbox_rests_until_ns

    def _rest_outbox(self, error: SpoolError) -> None:
        if str(error) != self._state.outbox_error:
            _LOGGER.warning("reports cannot be taken from the spool: %s", error)
        self._state = replace(self._state, outbox_error=str(error))
        self._outbox_rests_until_ns = self._clock.monotonic_ns() + round(_OUTBOX_RETRY_S * 1e9)

    def _note_outbox_works(self) -> None:
        if self._state.outbox_error:
            _LOGGER.info("the spool works again")
            self._state = replace(self._state, outbox_error="")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_waker() -> tuple[socket.socket, socket.socket]:
    read_end, write_end = socket.socketpair()
    read_end.setblocking(False)
    write_end.setblocking(False)
    return read_end, write_end
