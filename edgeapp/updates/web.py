"""HTTP as updates use it, for metadata and for blobs: one GET, bounded in time however slowly the server talks.

Owns the connection. What it brings is not believed, and bounded in size by who asks. Redirections are followed a few
times, as buckets need it. A connection is opened for each GET: they are seldom, and a server that was restarted or a
link that died meanwhile leaves nothing behind.
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

from edgeapp.updates.codes import Code, UpdateError

_WAIT_S = 20.0  # for a connection, for the head of an answer, and for each piece of its body
_CHUNK_BYTES = 64 * 1024
_MOST_REDIRECTIONS = 3
_MOVED = frozenset({301, 302, 303, 307, 308})
_PATH_CHARACTERS = "/%:@!$&'()*+,;=~?"  # what stands in a path as it is


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said. `chunks` is read inside of the context only."""

    status: int
    headers: Message
    chunks: Iterator[bytes]


@contextlib.contextmanager
def get(url: str, *, start: int = 0, deadline_s: float = math.inf) -> Iterator[Answer]:
    """Ask for an address, from the byte `start` on; all is over at `deadline_s` (time.monotonic).

    Raises:
        UpdateError: E_NET, E_HTTP (too many redirections) or E_DEADLINE; also while the chunks are read.
    """
    alarm = _Alarm()
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(_MOST_REDIRECTIONS + 1):
                connected = _connect(url, deadline_s, alarm)
                stack.callback(connected.close)
                response = _ask(connected, url, start)
                stack.callback(response.close)
                location = response.headers.get("Location") if response.status in _MOVED else None
                if location is None:
                    alarm.set(connected, deadline_s)
                    yield Answer(response.status, response.headers, _chunks(response, alarm))
                    return
                url = urllib.parse.urljoin(url, location)
        raise UpdateError(Code.E_HTTP, f"expected at most {_MOST_REDIRECTIONS} redirections, found more")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline_s:
            raise UpdateError(Code.E_DEADLINE, "expected an end in time, found none") from error
        text = f"no answer within {_WAIT_S:.0f} s" if alarm.has_rung else f"{type(error).__name__}: {error}"
        raise UpdateError(Code.E_NET, text) from error
    finally:
        alarm.cancel()


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


def _connect(url: str, deadline_s: float, alarm: _Alarm) -> socket.socket:
    """A connection to the server of an address, with the alarm set for the head of its answer."""
    address = urllib.parse.urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("expected an http or https address")
    now_s = time.monotonic()
    until_s = min(now_s + _WAIT_S, deadline_s)
    if now_s >= until_s:
        raise TimeoutError
    is_tls = address.scheme == "https"
    port = address.port or (http.client.HTTPS_PORT if is_tls else http.client.HTTP_PORT)
    connected = socket.create_connection((address.hostname, port), timeout=until_s - now_s)
    try:
        connected.settimeout(_WAIT_S)
        if not is_tls:
            alarm.set(connected, until_s)
            return connected
        tls = ssl.create_default_context().wrap_socket(
            connected, server_hostname=address.hostname, do_handshake_on_connect=False
        )
        connected = tls
        alarm.set(tls, until_s)
        tls.do_handshake()
        return tls
    except BaseException:
        connected.close()
        raise


def _ask(connected: socket.socket, url: str, start: int) -> http.client.HTTPResponse:
    address = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port)
    connection.sock = connected
    path = urllib.parse.quote(address.path, safe=_PATH_CHARACTERS) or "/"
    query = f"?{urllib.parse.quote(address.query, safe=_PATH_CHARACTERS)}" if address.query else ""
    headers = {"Accept-Encoding": "identity", "Connection": "close"}
    connection.request("GET", path + query, headers=headers | ({"Range": f"bytes={start}-"} if start else {}))
    return connection.getresponse()


def _chunks(response: http.client.HTTPResponse, alarm: _Alarm) -> Iterator[bytes]:
    while chunk := response.read1(_CHUNK_BYTES):
        yield chunk
    if alarm.has_rung:
        raise TimeoutError
    if response.length:
        raise ConnectionError(f"the answer ended {response.length} bytes early")
