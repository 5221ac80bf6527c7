"""A request is over in time, whatever the server does, and half an answer is none."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeapp.system import timed_http
from tests.fakes import web
from tests.fakes.web import Handler, WebServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "file").write_bytes(bytes(10_000))
    with WebServer(tmp_path) as started:
        yield started


def _size(server: WebServer, *, wait_s: float = 20.0, limit_s: float = math.inf) -> int:
    with timed_http.ask("GET", f"{server.url}/file", wait_s=wait_s, deadline_s=time.monotonic() + limit_s) as answer:
        assert answer.status == 200
        return sum(len(chunk) for chunk in answer.chunks)


def test_a_good_answer_is_whole(server: WebServer) -> None:
    assert _size(server) == 10_000


def test_an_answer_that_ends_early_fails(server: WebServer) -> None:
    server.behaviour = web.cut_after(100)
    with pytest.raises(ConnectionError, match="9900 bytes early"):
        _size(server)


def _dripping_without_a_length(handler: Handler, content: bytes, offset: int) -> None:
    """As endless as the client's patience; where it hangs up, what came looks like a whole answer."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        for byte in content:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.01)
    except OSError:
        return


@pytest.mark.parametrize("behaviour", [web.dripping, _dripping_without_a_length])
def test_the_deadline_ends_a_body_that_drips(server: WebServer, behaviour: web.Behaviour) -> None:
    server.behaviour = behaviour
    with pytest.raises(TimeoutError):
        _size(server, limit_s=0.3)


def test_silence_before_the_head_is_over_in_time(server: WebServer) -> None:
    server.behaviour = lambda handler, content, offset: time.sleep(1)
    with pytest.raises(TimeoutError):
        _size(server, wait_s=0.2)


def test_a_redirection_is_an_answer_like_any_other(server: WebServer) -> None:
    def elsewhere(handler: Handler, content: bytes, offset: int) -> None:
        handler.send_response(307)
        handler.send_header("Location", "/other")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.behaviour = elsewhere
    with timed_http.ask("GET", f"{server.url}/file", wait_s=20.0) as answer:
        assert (answer.status, answer.headers["Location"]) == (307, "/other")
    assert len(server.offsets) == 1


@pytest.mark.parametrize("url", ["ftp://host/file", "http:///file", "file:///etc/passwd", "host/file"])
def test_only_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(ValueError, match="http or https"), timed_http.ask("GET", url, wait_s=1.0):
        pass
