"""One GET is bounded in time, whatever the server does; and follows a few redirections."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edgeapp.updates import web
from edgeapp.updates.codes import UpdateError
from tests.fakes.certificates import Authority
from tests.unit.updates.test_fetchers import Answer, BaseHTTPRequestHandler, drip_headers, server


def _get(url: str, deadline_s: float) -> bytes:
    with web.get(url, deadline_s=deadline_s) as answer:
        return b"".join(answer.chunks)


def _redirect(count: int) -> Answer:
    """So many redirections, then an end."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        number = int(request.path.rpartition("/")[2])
        is_end = number == count
        request.send_response(200 if is_end else 302)
        request.send_header("Location", f"../a/{number + 1}")
        request.send_header("Content-Length", "3" if is_end else "0")
        request.end_headers()
        request.wfile.write(b"end" if is_end else b"")

    return answer


@pytest.mark.parametrize("count", [0, 3])
def test_three_redirections_are_followed(count: int) -> None:
    with server(_redirect(count)) as address:
        assert _get(f"{address}/a/0", time.monotonic() + 20) == b"end"


def test_a_fourth_redirection_is_not_followed() -> None:
    with server(_redirect(4)) as address, pytest.raises(UpdateError) as caught:
        _get(f"{address}/a/0", time.monotonic() + 20)
    assert caught.value.code == "E_HTTP"


def test_a_head_that_drips_is_given_up_also_where_nothing_else_presses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_WAIT_S", 0.3)
    with server(drip_headers) as address, pytest.raises(UpdateError, match="no answer within") as caught:
        _get(address, deadline_s=float("inf"))
    assert caught.value.code == "E_NET"


@contextmanager
def _listening(folder: Path, *, speaks: bool) -> Iterator[str]:
    """A TLS server whose authority nobody knows, or one that never ends its handshake."""
    shown = Authority(folder, "authority").sign("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                if speaks:
                    with suppress(OSError):
                        context.wrap_socket(link, server_side=True)
                is_over.wait(20)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
        is_over.set()
        thread.join()


@pytest.mark.parametrize(("speaks", "code"), [(True, "E_NET"), (False, "E_DEADLINE")], ids=["stranger", "mute"])
def test_tls_is_held_against_the_authorities_and_against_the_clock(speaks: bool, code: str, tmp_path: Path) -> None:
    with _listening(tmp_path, speaks=speaks) as url, pytest.raises(UpdateError) as caught:
        _get(url, time.monotonic() + (20 if speaks else 0.3))
    assert caught.value.code == code
    assert ("certificate" in str(caught.value)) is speaks
