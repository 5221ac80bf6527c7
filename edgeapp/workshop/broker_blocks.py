"""A release's files as retained messages of a broker: PREFIX/blobs/SHA256/N, 64 KiB each, for devices to pull.
Consents, too: one message for all of a tenant's.

Owns the connection and the blocks' protocol on the sending side; `updates/sources.py` has the other. Nothing that the
broker says of its own accord is believed: MQTT 3.1.1 acknowledges also what an access list drops. So what is kept is
found out by asking for it, before (what is there is not sent again) and afterwards.
"""

from __future__ import annotations

import collections
import hashlib
import queue
import secrets
import ssl
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgeapp.errors import ReleaseError
from edgeapp.updates.sources import BLOCK_BYTES
from edgeapp.workshop.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_ANSWER_S = 20.0
_QUIET_S = 3.0  # so long without a block, and the broker has none
_WINDOW = 16  # blocks on their way at once
_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, from mqtt[s]://[USER@]HOST[:PORT]/PREFIX."""

    host: str
    port: int
    prefix: str
    user: str = ""
    is_tls: bool = False


def read_address(url: str) -> Address:
    """The parts of a broker's address.

    Raises:
        ReleaseError: it is none.
    """
    parts = urllib.parse.urlsplit(url)
    prefix = parts.path.strip("/")
    try:
        port = parts.port
    except ValueError:
        port = 0
    is_good = parts.scheme in _PORTS and parts.hostname and prefix and port != 0 and not parts.password
    if not is_good or "+" in prefix or "#" in url:
        raise ReleaseError(f"{url}: expected mqtt://[USER@]HOST[:PORT]/PREFIX (or mqtts), without a password")
    return Address(
        parts.hostname or "", port or _PORTS[parts.scheme], prefix, parts.username or "", parts.scheme == "mqtts"
    )


class BrokerBlocks:
    """A connection to a broker that keeps blocks. Use it in a `with` statement."""

    def __init__(self, address: Address, password: str = "", ca_file: Path | None = None) -> None:
        self._address = address
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.max_inflight_messages_set(_WINDOW)
        if address.user:
            self._client.username_pw_set(address.user, password)
        if address.is_tls:
            self._client.tls_set_context(ssl.create_default_context(cafile=ca_file))
        self._welcome: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[paho.MQTTMessage] = queue.SimpleQueue()
        self._client.on_connect = lambda _client, _data, _flags, reason, _: self._welcome.put(
            str(reason) if reason.is_failure else ""
        )
        self._client.on_message = lambda _client, _data, message: self._messages.put(message)

    def __enter__(self) -> BrokerBlocks:
        where = f"{self._address.host}:{self._address.port}"
        try:
            self._client.connect(self._address.host, self._address.port)
            self._client.loop_start()
            refusal = self._welcome.get(timeout=_ANSWER_S)
        except (OSError, ValueError) as error:
            raise ReleaseError(f"{where}: expected a broker, found: {error}") from error
        except queue.Empty as error:
            self._client.loop_stop()
            raise ReleaseError(f"{where}: expected a welcome within {_ANSWER_S:.0f} s, found none") from error
        if refusal:
            self._client.loop_stop()
            raise ReleaseError(f"{where}: expected a welcome, found: {refusal}")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def put(self, path: Path, sha256: str, progress: Progress = silent) -> int:
        """See that the broker keeps every block of the file at `path`; how many had to be sent.

        Raises:
            ReleaseError: the broker does not keep them, or is gone.
        """
        step = f"blocks of {sha256[:12]}"
        count = -(-path.stat().st_size // BLOCK_BYTES)
        digests = [hashlib.sha256(block).digest() for block in _blocks(path)]
        missing = self._missing(sha256, digests, range(count), is_patient=False)
        progress(step, (count - len(missing)) / count)
        self._send(path, sha256, missing, lambda sent: progress(step, (count - len(missing) + sent) / count))
        lost = self._missing(sha256, digests, missing, is_patient=True)
        if lost:
            raise ReleaseError(
                f"{self._topic(sha256, lost[0])}: expected the broker to keep it, found it missing, as {len(lost)} of "
                f"{count} blocks: may this user publish there, and does the broker take retained messages of 64 KiB?"
            )
        progress(step, 1.0)
        return len(missing)

    def clear(self, sha256: str, size_bytes: int) -> None:
        """See that the broker keeps no block of a file of that size.

        Raises:
            ReleaseError: it does, or is gone.
        """
        numbers = range(-(-size_bytes // BLOCK_BYTES))
        self._publish((self._topic(sha256, number), b"") for number in numbers)
        left = [
            number for batch in _batches(numbers) for number in self._block_digests(sha256, batch, is_patient=False)
        ]
        if left:
            raise ReleaseError(f"{self._topic(sha256, left[0])}: expected it to be gone, found {len(left)} blocks")

    def kept(self, topic: str) -> bytes | None:
        """What the broker retains at `topic`, which lies below its prefix; None where it retains nothing."""
        whole = f"{self._address.prefix}/{topic}"
        return self._ask([whole], whole, is_patient=False).get(whole)

    def keep(self, topic: str, content: bytes) -> None:
        """See that the broker retains this.

        Raises:
            ReleaseError: it does not, or is gone.
        """
        whole = f"{self._address.prefix}/{topic}"
        self._publish(iter([(whole, content)]))
        if self._ask([whole], whole, is_patient=True).get(whole) != content:
            raise ReleaseError(
                f"{whole}: expected the broker to keep it, found it missing: may this user publish there?"
            )

    def _send(self, path: Path, sha256: str, numbers: list[int], on_sent: Callable[[int], None]) -> None:
        wanted = set(numbers)

        def messages() -> Iterator[tuple[str, bytes]]:
            for sent, (number, block) in enumerate(
                (number, block) for number, block in enumerate(_blocks(path)) if number in wanted
            ):
                on_sent(sent)
                yield self._topic(sha256, number), block

        self._publish(messages())

    def _publish(self, messages: Iterator[tuple[str, bytes]]) -> None:
        """Publish retained messages, a window of them at once, and wait for the last acknowledgement."""
        waiting: collections.deque[paho.MQTTMessageInfo] = collections.deque()
        for topic, payload in messages:
            waiting.append(self._client.publish(topic, payload, qos=1, retain=True))
            if len(waiting) >= _WINDOW:
                self._await(waiting.popleft())
        while waiting:
            self._await(waiting.popleft())

    def _await(self, info: paho.MQTTMessageInfo) -> None:
        try:
            info.wait_for_publish(_ANSWER_S)
            is_acknowledged = info.is_published()
        except (RuntimeError, ValueError):
            is_acknowledged = False
        if not is_acknowledged:
            raise ReleaseError(f"{self._address.host}: expected an acknowledgement in {_ANSWER_S:.0f} s, found none")

    def _missing(self, sha256: str, digests: list[bytes], numbers: Sequence[int], *, is_patient: bool) -> list[int]:
        """Which of these blocks the broker does not keep, or keeps with other content."""
        missing: list[int] = []
        for batch in _batches(numbers):
            found = self._block_digests(sha256, batch, is_patient=is_patient)
            missing += [number for number in batch if found.get(number) != digests[number]]
        return missing

    def _block_digests(self, sha256: str, numbers: list[int], *, is_patient: bool) -> dict[int, bytes]:
        """The digests of those of these blocks that the broker keeps."""
        topics = {self._topic(sha256, number): number for number in numbers}
        below = f"{self._address.prefix}/blobs/{sha256}"
        found = self._ask(list(topics), below, is_patient=is_patient)
        return {topics[topic]: hashlib.sha256(content).digest() for topic, content in found.items()}

    def _ask(self, topics: Sequence[str], below: str, *, is_patient: bool) -> dict[str, bytes]:
        """What the broker retains at those of these topics where it retains something.

        A message of our own, sent after the question, comes back behind the answers: then there are no more of them.
        Some brokers let it overtake: who is patient does not take it for the end.
        """
        fence, mark = f"{below}/asked", secrets.token_bytes(8)
        self._client.subscribe([(topic, 0) for topic in (*topics, fence)])
        self._client.publish(fence, mark)
        found: dict[str, bytes] = {}
        try:
            while len(found) < len(topics):
                message = self._messages.get(timeout=_QUIET_S)
                if (message.topic, message.payload) == (fence, mark) and not is_patient:
                    break
                if message.topic in topics and message.retain:
                    found[message.topic] = bytes(message.payload)
        except queue.Empty:
            pass
        code, _ = self._client.unsubscribe([*topics, fence])
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ReleaseError(f"{self._address.host}: expected a connection, found it lost")
        return found

    def _topic(self, sha256: str, number: int) -> str:
        return f"{self._address.prefix}/blobs/{sha256}/{number}"


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _batches(numbers: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), _WINDOW):
        yield list(numbers[start : start + _WINDOW])
