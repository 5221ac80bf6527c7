"""HTTPS with bounds, on Python's own http.server: connections, bytes, and time.

Owns the sockets. What is asked and answered is `site.py`'s. Guarantees: at most MAX_CONNECTIONS at a time and
MAX_PER_CLIENT from one address; at most MAX_HEAD_BYTES of request line and headers and MAX_BODY_BYTES of body; and no
connection lives on that does not bring its next request, or take its answer, in its time: `end_overdue` closes it,
however slowly it trickles.
"""

from __future__ import annotations

import contextlib
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from edgeapp.aim.request import MAX_BODY_BYTES, Refusal, Request, body_bytes, is_local
from edgeapp.aim.site import Answer, Site
from edgeapp.interfaces import Clock

MAX_CONNECTIONS = 16
MAX_PER_CLIENT = 8  # browsers open six
MAX_HEAD_BYTES = 16 * 1024
REQUEST_S = 20.0  # from the end of the last answer, or from the connection, until the next request is whole
ANSWER_S = 15.0


class _HeadTooLongError(ConnectionError):
    """The request line and the headers pass their limit."""


class _BoundedFile:
    """What a client sends, line by line, up to a limit that each request sets anew."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = MAX_HEAD_BYTES

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._file.readline(self.left + 1 if limit < 0 else min(limit, self.left + 1))
        self.left -= len(line)
        if self.left < 0:
            raise _HeadTooLongError
        return line

    def read(self, count: int) -> bytes:
        read: bytes = self._file.read(count)
        return read

    def close(self) -> None:
        self._file.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection: request after request, each answered by the site."""

    protocol_version = "HTTP/1.1"
    server: AimServer
    rfile: Any

    def setup(self) -> None:
        super().setup()
        self.rfile = _BoundedFile(self.rfile)

    def handle_one_request(self) -> None:
        self.rfile.left = MAX_HEAD_BYTES
        super().handle_one_request()
        self.server.allow(self.connection, REQUEST_S)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = body_bytes(headers)
        if isinstance(length, Refusal):
            self._send(Answer(length.status, length.text.encode(), "text/plain", (("Connection", "close"),)))
            # To close while more comes would throw away the answer on its way.
            socket.socket.shutdown(self.connection, socket.SHUT_WR)
            self.rfile.read(MAX_BODY_BYTES)
            return
        body = self.rfile.read(length)
        self.server.allow(self.connection, ANSWER_S)
        where = urlsplit(self.path)
        self._send(
            self.server.site.answer(
                Request(method=self.command, path=where.path, query=where.query, headers=headers, body=body),
                self.server.hosts,
            )
        )

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        if answer.status != 204:
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "edgeapp"

    def log_message(self, *_: object) -> None:
        """Nothing: what is asked may hold the code."""


class AimServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens on one address, from the moment that it is made."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(
        self,
        address: str,
        port: int,
        *,
        site: Site,
        tls: ssl.SSLContext,
        hosts: Callable[[int], frozenset[str]],
        clock: Clock,
    ) -> None:
        """`hosts` says, for the port, what a Host header may be.

        Raises:
            OSError: the address is not this machine's, or the port is taken.
        """
        family, _, _, _, where = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self.site, self._tls, self._clock = site, tls, clock
        self._live: dict[socket.socket, tuple[str, float]] = {}  # with the client, and until when
        self._lock = threading.Lock()
        super().__init__(where, _Handler)  # type: ignore[arg-type]
        self.port: int = self.server_address[1]
        self.hosts = hosts(self.port)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more, and it is a neighbour's."""
        client = client_address[0]
        with self._lock:
            of_client = sum(each == client for each, _ in self._live.values())
            return is_local(client) and len(self._live) < MAX_CONNECTIONS and of_client < MAX_PER_CLIENT

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            tls = self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        except OSError:  # gone already
            return
        with self._lock:
            self._live[tls] = client_address[0], self._now_s() + REQUEST_S
        super().process_request(tls, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):  # of a client that goes, trickles, or speaks no TLS
            request.do_handshake()
            _Handler(request, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._live.pop(request, None)
        with contextlib.suppress(OSError):
            request.close()

    def allow(self, connection: socket.socket, seconds: float) -> None:
        """Give a connection this much time from now on."""
        with self._lock:
            if connection in self._live:
                self._live[connection] = self._live[connection][0], self._now_s() + seconds

    def end_overdue(self) -> None:
        """Close every connection whose time is over."""
        now_s = self._now_s()
        with self._lock:
            overdue = [each for each, (_, until_s) in self._live.items() if now_s >= until_s]
        for each in overdue:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # the socket's own, which does not wait for TLS

    def connections(self) -> int:
        """How many there are."""
        with self._lock:
            return len(self._live)

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
