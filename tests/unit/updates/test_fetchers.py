"""A server that is slow, endless, wrong or gone costs a bounded time and has its code."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.ngclient.fetcher import FetcherInterface

from edgeapp.updates.codes import UpdateError
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.fetchers import CarriedFiles, FolderFiles, WebFiles
from edgeapp.updates.metadata import refresh
from tests.fakes.releases import NOW_S, Repository

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A web server on loopback that answers every GET so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the client hangs up
                answer(self)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


def serve(files: dict[str, bytes]) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        name = request.path.removeprefix("/metadata/").removeprefix("/targets/")
        content = files.get(name)
        request.send_response(200 if content is not None else 404)
        request.send_header("Content-Length", str(len(content or b"")))
        request.end_headers()
        request.wfile.write(content or b"")

    return answer


def drip(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" ")
        time.sleep(0.05)


def drip_headers(request: BaseHTTPRequestHandler) -> None:
    while True:
        request.wfile.write(b"H")
        time.sleep(0.05)


def endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    while True:
        request.wfile.write(b" " * 65536)


def truncated(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b"{")


def failing(request: BaseHTTPRequestHandler) -> None:
    request.send_error(500)


def nonsense(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"\x00\xff\r\n\r\n")


def code_of(fetcher: FetcherInterface, folder: Path) -> str:
    """The code of a refresh; nothing where it worked."""
    try:
        refresh(folder, Repository().first_root, fetcher, ClockReading(NOW_S, is_synchronised=True), Floors())
    except UpdateError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (drip, "E_DEADLINE"),
        (drip_headers, "E_DEADLINE"),
        (endless, "E_LENGTH"),
        (truncated, "E_NET"),
        (failing, "E_HTTP"),
        (nonsense, "E_NET"),
    ],
)
def test_bad_server_has_its_code_within_the_time_limit(answer: Answer, code: str, tmp_path: Path) -> None:
    with server(answer) as address:
        began = time.monotonic()
        assert code_of(WebFiles(address, limit_s=0.5), tmp_path) == code
        assert time.monotonic() - began < 30


def test_server_that_is_gone(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # and does not listen
        assert code_of(WebFiles(f"http://127.0.0.1:{listener.getsockname()[1]}"), tmp_path) == "E_NET"


def test_address_that_is_none(tmp_path: Path) -> None:
    assert code_of(WebFiles("ftp://127.0.0.1/"), tmp_path) == "E_NET"


def test_time_limit_is_that_of_all_fetches_together(tmp_path: Path) -> None:
    with server(serve(Repository().files)) as address:
        assert code_of(WebFiles(address, limit_s=0.0), tmp_path) == "E_DEADLINE"


def test_web_server_serves_a_whole_repository(tmp_path: Path) -> None:
    with server(serve(Repository().files)) as address:
        assert code_of(WebFiles(address), tmp_path) == ""


def test_folder_serves_a_whole_repository(tmp_path: Path) -> None:
    Repository().write(tmp_path / "stick")
    assert code_of(FolderFiles(tmp_path / "stick"), tmp_path / "tuf") == ""


def test_what_did_not_ride_along_is_fetched(tmp_path: Path) -> None:
    files = Repository().files
    carried = {"timestamp.json": files.pop("timestamp.json")}
    assert code_of(CarriedFiles(carried), tmp_path) == "E_HTTP"
    with server(serve(files)) as address:
        assert code_of(CarriedFiles(carried, WebFiles(address)), tmp_path) == ""
