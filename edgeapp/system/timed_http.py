"""One HTTP request and its answer, over in time however slowly the server talks.

Owns the connection, which is made anew for each request: they are seldom, and a server that was restarted or a link
that died meanwhile leaves nothing behind. A socket's own time limit holds for one read, and a byte now and then renews
it; here a timer hangs up, so the limits hold for TLS and the head of the answer together, and for the body with them.
That is why it is built on http.client, whose socket is at hand. Redirections are not followed.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

FAILURES = (OSError, ValueError, http.client.HTTPException)
"""What a request fails with: a TimeoutError where its time was over."""
_PORTS = {"http": http.client.HTTP_PORT, "https": http.client.HTTPS_PORT}
_CHUNK_BYTES = 64 * 1024
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~?"  # what stands in a path as it is
_HEADERS = {"Accept-Encoding": "identity", "Connection": "close"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. `chunks` is read inside of the context only."""

    status: int
    headers: Message
    chunks: Iterator[bytes]


@contextlib.contextmanager
def ask(
    method: str,
    url: str,
    *,
    wait_s: float,
    deadline_s: float = math.inf,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Answer]:
    """Send a request to an http or https address.

    Args:
        wait_s: for the connection and the head of the answer together, and then for each piece of the body.
        deadline_s: when all is over (time.monotonic).
        tls: for https; without it, the system's authorities are believed.

    Raises:
        FAILURES: also while the chunks are read; an answer that ends early is one.
    """
    alarm = _Alarm()
    try:
        address = _read_address(url)
        with contextlib.closing(_connect(address, wait_s, deadline_s, tls, alarm)) as connected:
            connection = http.client.HTTPConnection(address.host, address.port)
            connection.default_port = _PORTS[address.scheme]  # which the header Host leaves out
            connection.sock = connected
            connection.request(method, address.target, body, _HEADERS | (headers or {}))
            with contextlib.closing(connection.getresponse()) as response:
                alarm.set(connected, deadline_s)
                yield Answer(response.status, response.headers, _chunks(response, alarm))
    except FAILURES as error:
        if alarm.has_rung or time.monotonic() >= deadline_s:
            raise TimeoutError from error
        raise
    finally:
        alarm.cancel()


@dataclass(frozen=True, slots=True)
class _Address:
    """What an address says: `target` is path and query as they are asked for."""

    scheme: str
    host: str
    port: int
    target: str


class _Alarm:
    """Hangs up when the time is up: a server that sends a byte now and then renews the time limit of each read."""

    def __init__(self) -> None:
        self.has_rung = False
        self._timer: threading.Timer | None = None

    def set(self, connected: socket.socket, at_s: float) -> None:
        """From now on hang this up at that time, and nothing else."""
        self.cancel()
        if math.isinf(at_s):
            return
        self._timer = threading.Timer(max(at_s - time.monotonic(), 0.0), self._ring, (connected,))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self, connected: socket.socket) -> None:
        self.has_rung = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _read_address(url: str) -> _Address:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("expected an http or https address")
    path = urllib.parse.quote(parts.path, safe=_PATH_CHARACTERS) or "/"
    query = f"?{urllib.parse.quote(parts.query, safe=_PATH_CHARACTERS)}" if parts.query else ""
    return _Address(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme], path + query)


def _connect(
    address: _Address, wait_s: float, deadline_s: float, tls: ssl.SSLContext | None, alarm: _Alarm
) -> socket.socket:
    """A connection to the server of an address, with the alarm set for the head of its answer."""
    now_s = time.monotonic()
    until_s = min(now_s + wait_s, deadline_s)
    if now_s >= until_s:
        raise TimeoutError
    connected = socket.create_connection((address.host, address.port), timeout=until_s - now_s)
    try:
        if address.scheme == "https":
            context = tls or ssl.create_default_context()
            connected = context.wrap_socket(connected, server_hostname=address.host, do_handshake_on_connect=False)
        connected.settimeout(wait_s)
        alarm.set(connected, until_s)
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        return connected
    except BaseException:
        connected.close()
        raise


def _chunks(response: http.client.HTTPResponse, alarm: _Alarm) -> Iterator[bytes]:
    while chunk := response.read1(_CHUNK_BYTES):
        yield chunk
    if alarm.has_rung:
        raise TimeoutError
    if response.length:
        raise ConnectionError(f"the answer ended {response.length} bytes early")
