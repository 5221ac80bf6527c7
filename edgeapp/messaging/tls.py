"""TLS to the broker: the context that the configuration asks for, and in words what goes wrong with it.

Guarantees what no setting can lower: TLS 1.2 or later, a certificate that a trusted authority has signed, and one that
is the configured host's. Leaves to `connection.py` when it is used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from edgeapp.config import TlsConfig
from edgeapp.system import credentials

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

WANTS_CERTIFICATE = "the broker wants a client certificate: set mqtt.tls.cert_file and mqtt.tls.key_file"
NO_TLS = "what answers does not speak TLS: is mqtt.port the broker's port for TLS?"
_TOO_OLD = "the broker speaks no TLS that is new enough: it needs 1.2 or later"
_UNKNOWN_AUTHORITY = "the broker's certificate is signed by nobody we trust: is mqtt.tls.ca_file the authority's?"
_OTHER_HOST = "the broker's certificate is for another host: write in mqtt.host the name that it is for"
# OpenSSL's X509_V_ERR_… numbers [x509_vfy.h].
_VERDICTS = {
    2: _UNKNOWN_AUTHORITY,
    9: "the broker's certificate is not valid yet: is this device's clock right?",
    10: "the broker's certificate has expired: renew it, or set this device's clock",
    18: _UNKNOWN_AUTHORITY,
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: _OTHER_HOST,
    64: _OTHER_HOST,
}
_REASONS = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "UNEXPECTED_EOF_WHILE_READING": NO_TLS,
    "UNSUPPORTED_PROTOCOL": _TOO_OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _TOO_OLD,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": WANTS_CERTIFICATE,
}
# What the broker says of our certificate, as OpenSSL names the alerts.
_CERTIFICATE_ALERTS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_", "ACCESS_DENIED", "DECRYPT_ERROR")


def make_context(config: TlsConfig, note: Callable[[ssl.SSLError], None]) -> ssl.SSLContext:
    """Read the files and build the context.

    Args:
        note: gets what the broker says of our certificate after the handshake. TLS 1.3 refuses a client only then,
            and paho swallows it.

    Raises:
        ValueError: a file is missing, unreadable or not what it should be; the text names its key.
    """
    for key in ("ca_file", "cert_file", "key_file"):
        path = getattr(config, key)
        if path is not None:
            _try_to_read(key, path)
    try:
        context = ssl.create_default_context(cafile=credentials.find(config.ca_file) if config.ca_file else None)
    except ssl.SSLError as error:
        raise ValueError(f"mqtt.tls.ca_file {config.ca_file}: expected certificates in PEM, found none") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _noting_socket(note)
    if config.cert_file is not None:
        _load_certificate(context, config)
    return context


def in_words(error: ssl.SSLError, *, has_certificate: bool) -> str:
    """What went wrong with TLS, and which key to look at. `has_certificate`: whether we have one of our own."""
    if isinstance(error, ssl.SSLCertVerificationError):
        refused = f"the broker's certificate is refused: {error.verify_message}"
        return _VERDICTS.get(error.verify_code, refused)
    reason = error.reason or str(error)
    if reason in _REASONS:
        return _REASONS[reason]
    said = reason.rpartition("ALERT_")[2].replace("_", " ").lower()
    if "ALERT" in reason and any(alert in reason for alert in _CERTIFICATE_ALERTS):
        return f"the broker refuses our certificate (mqtt.tls.cert_file): {said}"
    if reason.endswith("ALERT_HANDSHAKE_FAILURE") and not has_certificate:
        return WANTS_CERTIFICATE
    return f"TLS failed: {said}"


def _noting_socket(note: Callable[[ssl.SSLError], None]) -> type[ssl.SSLSocket]:
    class NotingSocket(ssl.SSLSocket):
        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            try:
                return super().recv(buflen, flags)
            except ssl.SSLError as error:
                if "ALERT" in (error.reason or ""):
                    note(error)
                raise

        def send(self, data: ReadableBuffer, flags: int = 0) -> int:
            try:
                return super().send(data, flags)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except OSError:
                with suppress(OSError):
                    self.recv(1)  # closed before our first word: why stands in what it left to read
                raise

    return NotingSocket


def _try_to_read(key: str, path: str) -> None:
    try:
        credentials.find(path).read_bytes()
    except OSError as error:
        raise ValueError(f"mqtt.tls.{key} {path} cannot be read: {error.strerror}") from error


def _load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    def refuse_to_ask() -> NoReturn:
        raise ValueError(f"mqtt.tls.key_file {config.key_file}: expected a key without a passphrase, found one with it")

    assert config.cert_file is not None
    try:
        key_file = credentials.find(config.key_file) if config.key_file else None
        context.load_cert_chain(credentials.find(config.cert_file), key_file, password=refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            text = f"mqtt.tls.key_file {config.key_file} does not belong to mqtt.tls.cert_file {config.cert_file}"
        else:
            text = f"mqtt.tls.cert_file {config.cert_file} or mqtt.tls.key_file {config.key_file}: expected PEM"
        raise ValueError(text) from error
