"""One question to the endpoint over HTTPS, and its answer: bounded in time and in size, whatever the other side does.

Redirections are not followed, so a crop goes to the host of the consent and to no other.
"""

from __future__ import annotations

import http
import ssl
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from edgeapp.config import EscalationConfig
from edgeapp.errors import EndpointError
from edgeapp.escalation.answer import ANSWER_MAX_BYTES
from edgeapp.system import credentials, timed_http

_ASK, _HEALTH = "/v1/ask", "/v1/health"
_PORT = 443
_SAID = 200


class Link:
    """The way to one endpoint."""

    def __init__(self, settings: EscalationConfig) -> None:
        assert settings.endpoint is not None, "the configuration demands an endpoint"
        address = urlsplit(settings.endpoint)
        self.host, self._port = address.hostname or "", address.port or _PORT
        self._base = f"https://{address.netloc}{address.path.rstrip('/')}"
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
            with timed_http.ask(
                method,
                self._base + path,
                wait_s=limit_s,
                deadline_s=deadline_s,
                body=body,
                headers=self._headers(),
                tls=self._context(),
            ) as answer:
                content = _content(answer.chunks)
        except timed_http.FAILURES as error:
            # What the other side says may stand in it, and it comes into log and status: bounded, on one line.
            said = ascii(str(error))[1:-1][:_SAID] or type(error).__name__
            text = f"no answer within {limit_s:.0f} s" if isinstance(error, TimeoutError) else said
            raise EndpointError(f"{self.host}:{self._port}: {text}") from error
        if answer.status != http.HTTPStatus.OK:
            raise EndpointError(f"{self.host}:{self._port}: expected status 200, found {answer.status}")
        return content

    def _context(self) -> ssl.SSLContext:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.ca_file and credentials.find(settings.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.cert_file is not None:
            key_file = settings.key_file and credentials.find(settings.key_file)
            context.load_cert_chain(credentials.find(settings.cert_file), key_file, password=lambda: "")
        return context

    def _headers(self) -> dict[str, str]:
        """Nothing says which device asks, but for the token or the certificate."""
        headers = {"Content-Type": "image/jpeg", "User-Agent": "edgeapp"}
        if self._settings.token_file is not None:
            headers["Authorization"] = f"Bearer {credentials.find(self._settings.token_file).read_text().strip()}"
        return headers


def _content(chunks: Iterable[bytes]) -> bytes:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > ANSWER_MAX_BYTES:
            raise ValueError(f"answer: expected at most {ANSWER_MAX_BYTES} bytes, found more")
    return content
