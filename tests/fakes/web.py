"""A real web server on loopback that serves a folder's blobs, and misbehaves in a chosen way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

# Gets the request's handler, the file's bytes and the offset asked for; answers wholly by itself.
Behaviour = Callable[["Handler", bytes, int], None]


class Handler(BaseHTTPRequestHandler):
    """One request, answered by the server's behaviour."""

    protocol_version = "HTTP/1.1"
    server: WebServer

    def do_GET(self) -> None:
        path = self.server.folder / self.path.lstrip("/")
        asked = self.headers.get("Range", "bytes=0-")
        self.server.offsets.append(int(asked.removeprefix("bytes=").rstrip("-")))
        if not path.is_file():
            self.send_error(404)
            return
        self.server.behaviour(self, path.read_bytes(), self.server.offsets[-1])

    def answer(self, body: bytes, *, offset: int, length: int | None = None, total: int | None = None) -> None:
        """Head and body of a 206, or of a 200 where `offset` is 0; `length` and `total` may lie."""
        total = offset + len(body) if total is None else total
        self.send_response(206 if offset else 200)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{total - 1}/{total}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Tests look at `offsets` instead."""


def well(handler: Handler, content: bytes, offset: int) -> None:
    """As a good server does, with Range."""
    handler.answer(content[offset:], offset=offset)


def ignoring_range(handler: Handler, content: bytes, offset: int) -> None:
    """Everything from the start, whatever was asked."""
    handler.answer(content, offset=0)


def cut_after(size: int) -> Behaviour:
    """Promises the rest, gives `size` bytes of it and hangs up."""

    def behave(handler: Handler, content: bytes, offset: int) -> None:
        rest = content[offset:]
        handler.answer(rest[:size], offset=offset, length=len(rest), total=len(content))
        handler.close_connection = True

    return behave


def changed(handler: Handler, content: bytes, offset: int) -> None:
    """Other bytes of the same length."""
    handler.answer(bytes(byte ^ 1 for byte in content[offset:]), offset=offset, total=len(content))


def endless(handler: Handler, content: bytes, offset: int) -> None:
    """No length told, and no end."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(65536))
    except OSError:
        handler.close_connection = True


def dripping(handler: Handler, content: bytes, offset: int) -> None:
    """A byte now and then (slow loris)."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    try:
        for byte in content:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(0.01)
    except OSError:
        handler.close_connection = True


def status(code: int) -> Behaviour:
    return lambda handler, content, offset: handler.send_error(code)


class WebServer(ThreadingHTTPServer):
    """Serves `folder` until closed. `offsets` are those that were asked for, in order."""

    daemon_threads = True

    def __init__(self, folder: Path, behaviour: Behaviour = well) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.behaviour = behaviour
        self.offsets: list[int] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
