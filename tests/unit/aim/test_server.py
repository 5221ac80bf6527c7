"""The server's bounds, on real sockets: connections, bytes, and time."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeapp.aim import certificate
from edgeapp.aim.look import Look
from edgeapp.aim.request import MAX_BODY_BYTES, hosts_of
from edgeapp.aim.server import MAX_CONNECTIONS, MAX_HEAD_BYTES, MAX_PER_CLIENT, REQUEST_S, AimServer
from edgeapp.aim.session import Session
from edgeapp.aim.shapes_file import ShapesFile
from edgeapp.aim.site import Site
from edgeapp.aim.viewer import Shown
from tests.fakes.clock import FakeClock

SHIPPED = (Path(__file__).parents[3] / "config.yaml").read_text()


class Running:
    """A server, and what a client needs to reach it."""

    def __init__(self, folder: Path) -> None:
        (folder / "config.yaml").write_text(SHIPPED)
        self.clock = FakeClock(1_700_000_000)
        self.session = Session(self.clock, 600.0)
        site = Site(
            self.session,
            ShapesFile(folder / "config.yaml"),
            newer_than=lambda number, timeout_s: Shown(1, Look().as_json(), b"x" * 3_000_000),
            facts=dict,
            on_masks=lambda config: None,
        )
        tls, self.fingerprint = certificate.make("127.0.0.1")
        self.server = AimServer(
            "127.0.0.1", 0, site=site, tls=tls, hosts=lambda port: hosts_of("127.0.0.1", port, "shop"), clock=self.clock
        )
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        self.tls = ssl.create_default_context()
        self.tls.check_hostname, self.tls.verify_mode = False, ssl.CERT_NONE

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", self.server.port), 60, source_address=(source, 0))
        return self.tls.wrap_socket(raw)

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("127.0.0.1", self.server.port, timeout=60, context=self.tls)
        place = f"127.0.0.1:{self.server.port}"
        wanted = {"Origin": f"https://{place}", "X-Edgeapp-Aim": "1", "Content-Type": "application/json", **headers}
        connection.request(method, path, body, wanted)
        return connection.getresponse()

    def head(self) -> bytes:
        return f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.server.port}\r\n".encode()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started = Running(tmp_path)
    yield started
    started.stop()


def until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    return is_so()


def received(connection: socket.socket) -> bytes:
    """All until the other side closes."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except OSError:
        pass
    return found


def test_the_page_comes_encrypted_with_a_certificate_made_for_this_time(running: Running) -> None:
    with running.connect() as connection:
        assert connection.version() in ("TLSv1.2", "TLSv1.3")
        shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    assert certificate.make("127.0.0.1")[1] != running.fingerprint, "another time, another key"
    answer = running.ask("GET", "/")
    assert answer.status == 200
    assert b"<title>Aim the camera</title>" in answer.read()
    assert answer.headers["Server"] == "edgeapp"


def test_the_code_opens_and_the_cookie_shows_the_picture(running: Running) -> None:
    answer = running.ask("POST", "/code", json.dumps({"code": running.session.code}).encode())
    assert answer.status == 204
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert running.ask("GET", "/look").status == 403
    assert len(running.ask("GET", "/look", Cookie=cookie).read()) > 3_000_000


def test_another_host_is_refused(running: Running) -> None:
    assert running.ask("GET", "/", Host="evil.example:8443").status == 421


def test_one_connection_carries_many_requests(running: Running) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", running.server.port, timeout=60, context=running.tls)
    for _ in range(5):
        connection.request("GET", "/")
        assert connection.getresponse().read()
    assert running.server.connections() == 1


def test_a_head_without_end_is_cut_off(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(running.head() + b"X: " + b"a" * MAX_HEAD_BYTES)
        assert received(connection) == b""
    with running.connect() as connection:
        connection.sendall(running.head() + b"X: a\r\n" * (MAX_HEAD_BYTES // 6))
        assert b"200" not in received(connection)
    assert running.ask("GET", "/").status == 200


def test_a_body_that_is_too_long_is_not_read(running: Running) -> None:
    answer = running.ask("POST", "/code", b"", **{"Content-Length": str(MAX_BODY_BYTES + 1)})
    assert answer.status == 413
    answer = running.ask("POST", "/code", b"0\r\n\r\n", **{"Transfer-Encoding": "chunked"})
    assert answer.status == 411


def test_one_client_cannot_take_all_connections_and_all_clients_cannot_take_more(running: Running) -> None:
    held = [running.connect() for _ in range(MAX_PER_CLIENT)]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        running.connect()
    with running.connect("127.0.0.2"):
        pass
    assert until(lambda: running.server.connections() == MAX_PER_CLIENT)
    held += [running.connect("127.0.0.2") for _ in range(MAX_CONNECTIONS - MAX_PER_CLIENT)]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        running.connect("127.0.0.3")
    for connection in held:
        connection.close()
    assert until(lambda: running.server.connections() == 0)
    assert running.ask("GET", "/").status == 200


def test_a_client_that_trickles_is_cut_off_when_its_time_is_over(running: Running) -> None:
    """Whether it trickles the handshake, the head, the body, or takes no answer."""
    silent = socket.create_connection(("127.0.0.1", running.server.port), 10)
    head, body, idle = running.connect(), running.connect(), running.connect()
    head.sendall(running.head()[:-5])
    body.sendall(b"POST /code HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
    idle.sendall(running.head() + b"\r\n")
    assert until(lambda: running.server.connections() == 4)
    running.clock.advance(REQUEST_S - 1)
    running.server.end_overdue()
    assert running.server.connections() == 4
    head.sendall(b"a")  # a byte now and then buys no time
    running.clock.advance(2)
    running.server.end_overdue()
    assert until(lambda: running.server.connections() <= 1)
    running.clock.advance(REQUEST_S)
    running.server.end_overdue()
    assert until(lambda: running.server.connections() == 0)
    for connection in (silent, head, body, idle):
        connection.close()


def test_who_takes_no_answer_is_cut_off(running: Running) -> None:
    cookie = f"__Host-aim={running.session.enter(running.session.code)}"
    with running.connect() as connection:
        connection.sendall(running.head().replace(b"/ ", b"/look ") + f"Cookie: {cookie}\r\n\r\n".encode())
        assert connection.recv(1)
        running.clock.advance(REQUEST_S + 1)
        running.server.end_overdue()
        assert until(lambda: running.server.connections() == 0)


def test_what_speaks_no_tls_gets_nothing(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.server.port), 10) as connection:
        connection.sendall(running.head() + b"\r\n")
        assert b"HTTP" not in received(connection)
    assert running.ask("GET", "/").status == 200


def test_who_comes_from_beyond_the_local_network_is_sent_away(running: Running) -> None:
    assert running.server.verify_request(None, ("192.168.1.9", 1))
    assert not running.server.verify_request(None, ("8.8.8.8", 1))
