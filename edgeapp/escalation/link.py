"""One question to the endpoint over HTTPS, and its answer: bounded in time and in size, whatever the other side does.

Owns the connection, made anew for each question. The time limit is for all of it together, TCP, TLS, headers and body:
a server that sends a byte now and then renews the limit of each read, but not this one. That is why it is built on
http.client, whose socket is at hand, as `updates/fetchers.py` is. Redirections are not followed, so a crop goes to the
host of the consent and to no other.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from edgeapp.config import EscalationConfig
from edgeapp.errors import EndpointError
from edgeapp.escalation.answer import ANSWER_MAX_BYTES

_ASK, _HEALTH = "/v1/ask", "/v1/health"
_CHUNK_BYTES = 4096
_PORT = 443
_SAID = 200


class Link:
    """The way to one endpoint."""

    def __init__(self, settings: EscalationConfig) -> None:
        assert settings.endpoint is not None, "the configuration demands an endpoint"
        address = urlsplit(settings.endpoint)
        self.host, self._port = address.hostname or "", address.port or _PORT
        self._path = address.path.rstrip("/")
        self._settings = settings

    def ask(self, jpeg: bytes, limit_s: float) -> bytes:
        """The body of the answer to a crop.

        Raises:
            EndpointError: there was none in time, or one that says no.
        """
        return self._exchange("POST", _ASK, jpeg, limit_s)

    def probe(self, limit_s: float) -> None:
        """Ask whether the endpoint is well, without a crop.

        Raises:
            EndpointError: it is not, or is not reached.
        """
        self._exchange("GET", _HEALTH, None, limit_s)

    def _exchange(self, method: str, path: str, body: bytes | None, limit_s: float) -> bytes:
        deadline_s = time.monotonic() + limit_s
        try:
            with self._connected(deadline_s) as connection:
                connection.request(method, self._path + path, body, self._headers())
                response = connection.getresponse()
                content = _content(response)
        except (OSError, ValueError, http.client.HTTPException) as error:
            is_late = time.monotonic() >= deadline_s or isinstance(error, TimeoutError)
            # What the other side says may stand in it, and it comes into log and status: bounded, on one line.
            said = ascii(str(error))[1:-1][:_SAID] or type(error).__name__
            text = f"no answer within {limit_s:.0f} s" if is_late else said
            raise EndpointError(f"{self.host}:{self._port}: {text}") from error
        if response.status != http.client.OK:
            raise EndpointError(f"{self.host}:{self._port}: expected status 200, found {response.status}")
        return content

    @contextlib.contextmanager
    def _connected(self, deadline_s: float) -> Iterator[http.client.HTTPConnection]:
        context = self._context()
        raw = socket.create_connection((self.host, self._port), max(0.1, deadline_s - time.monotonic()))
        secure = context.wrap_socket(raw, server_hostname=self.host, do_handshake_on_connect=False)
        alarm = threading.Timer(max(0.0, deadline_s - time.monotonic()), _hang_up, (secure,))
        alarm.daemon = True
        alarm.start()
        try:
            secure.do_handshake()
            connection = http.client.HTTPConnection(self.host, self._port)
            connection.sock = secure
            yield connection
        finally:
            alarm.cancel()
            secure.close()

    def _context(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file is not None:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: "")
        return context

    def _headers(self) -> dict[str, str]:
        """Nothing says which device asks, but for the token or the certificate."""
        headers = {"Content-Type": "image/jpeg", "Accept-Encoding": "identity", "User-Agent": "edgeapp"}
        if self._settings.token_file is not None:
            headers["Authorization"] = f"Bearer {Path(self._settings.token_file).read_text().strip()}"
        return headers


def _content(response: http.client.HTTPResponse) -> bytes:
    content = b""
    while chunk := response.read1(_CHUNK_BYTES):
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise ValueError(f"answer: expected at most {ANSWER_MAX_BYTES} bytes, found more")
    if response.length:
        raise ValueError(f"the answer ended {response.length} bytes early")
    return content


def _hang_up(connected: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError, ValueError):
        connected.shutdown(socket.SHUT_RDWR)
