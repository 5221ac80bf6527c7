"""A real HTTPS server on loopback that devices ask for a second opinion, and that misbehaves in a chosen way.

It counts every TCP connection, also one that never says a word, and keeps what came over it.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.certificates import Signed

MODEL = {"name": "large", "version": 1, "sha256": "a" * 64}
# Gets the request's handler and its body; answers wholly by itself.
Behaviour = Callable[["Handler", bytes], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """One request, answered by the server's behaviour; a probe is answered well unless `sick`."""

    protocol_version = "HTTP/1.1"
    server: Endpoint

    def do_GET(self) -> None:
        self._note(b"")
        if self.server.is_sick:
            self.send_error(503)
        else:
            self.answer(json.dumps({"v": 1, "model": MODEL}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._note(body)
        self.server.behaviour(self, body)

    def answer(self, body: bytes, status: int = 200, length: int | None = None) -> None:
        """Head and body; `length` may lie."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _note(self, body: bytes) -> None:
        self.server.asked.append(Asked(self.command, self.path, dict(self.headers), body))

    def log_message(self, *_: object) -> None:
        """Tests look at `asked` instead."""


def finding(*found: dict[str, Any]) -> Behaviour:
    """These detections in every crop."""
    body = json.dumps({"v": 1, "model": MODEL, "detections": list(found)}).encode()
    return lambda handler, _: handler.answer(body)


def person(box: tuple[float, float, float, float], score: float = 0.9) -> dict[str, Any]:
    return {"class_name": "person", "score": score, "box": box}


nothing = finding()


def status(code: int) -> Behaviour:
    return lambda handler, _: handler.send_error(code)


def garbage(handler: Handler, _: bytes) -> None:
    handler.answer(b"\x00\xff<html>" * 100)


def oversized(handler: Handler, _: bytes) -> None:
    """No length told, and no end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    _until_gone(handler, bytes(65_536), 0.0)


def dripping_headers(handler: Handler, _: bytes) -> None:
    """A header byte now and then, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _until_gone(handler, b"x", 0.05)


def hanging(handler: Handler, _: bytes) -> None:
    """Takes the crop and says nothing."""
    handler.server.is_closed.wait(60)
    handler.close_connection = True


def short(handler: Handler, _: bytes) -> None:
    """Promises more than it gives."""
    handler.answer(b"{}", length=1000)
    handler.close_connection = True


def redirecting(handler: Handler, _: bytes) -> None:
    handler.send_response(307)
    handler.send_header("Location", f"https://127.0.0.1:{handler.server.server_port}/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def _until_gone(handler: Handler, chunk: bytes, pause_s: float) -> None:
    try:
        while not handler.server.is_closed.wait(pause_s):
            handler.wfile.write(chunk)
            handler.wfile.flush()
    except OSError:
        pass
    handler.close_connection = True


class Endpoint(ThreadingHTTPServer):
    """Serves until closed. `asked` are the requests, `connections` the TCP connections, in whatever they ended."""

    daemon_threads = True

    def __init__(self, signed: Signed, behaviour: Behaviour = nothing, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(signed.cert, signed.key)
        self.behaviour = behaviour
        self.is_sick = self.is_deaf = False
        self.asked: list[Asked] = []
        self.connections = self._ended = 0
        self._ending = threading.Lock()
        self.is_closed = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    @property
    def crops(self) -> list[bytes]:
        """What was asked about, in order."""
        return [one.body for one in self.asked if one.method == "POST"]

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections += 1
        if self.is_deaf:  # as a dead link: what connects is cut off
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            raise ConnectionAbortedError("cut off")
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._ending:
            self._ended += 1

    def settle(self) -> None:
        """Wait until all that was sent on connections that are over has been noted."""
        self.wait(lambda one: one._ended == one.connections, "the end of the connections")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is none of ours."""

    def wait(self, is_so: Callable[[Endpoint], bool], what: str, timeout_s: float = 60.0) -> None:
        """Wait until what was asked satisfies `is_so`."""
        deadline = time.monotonic() + timeout_s
        while not is_so(self):
            assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}; {len(self.asked)} requests"
            time.sleep(0.02)

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed.set()
        self.shutdown()
        self.server_close()
