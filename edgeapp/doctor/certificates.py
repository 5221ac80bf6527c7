"""Looks at certificates: in a file, and what a server shows. Takes them as they are and verifies nothing."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography import x509

from edgeapp.doctor.judge_broker import CertificateLook

_LIMIT_S = 3.0


def in_file(path: Path) -> CertificateLook:
    """The first certificate in a PEM file.

    Raises:
        OSError: the file cannot be read.
        ValueError: there is none in it.
    """
    return _look(path.read_bytes())


def shown_by(host: str, port: int) -> CertificateLook | None:
    """The certificate of what answers there, whoever that is; None where it shows none, or does not answer in time."""
    try:
        return _look(ssl.get_server_certificate((host, port), timeout=_LIMIT_S).encode())
    except (OSError, ValueError):
        return None


def _look(pem: bytes) -> CertificateLook:
    found = x509.load_pem_x509_certificate(pem)
    try:
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives = x509.SubjectAlternativeName([])
    addresses = alternatives.get_values_for_type(x509.IPAddress)
    return CertificateLook(
        subject=found.subject.rfc4514_string(),
        hosts=(*alternatives.get_values_for_type(x509.DNSName), *map(str, addresses)),
        issuer=found.issuer.rfc4514_string(),
        first_s=found.not_valid_before_utc.timestamp(),
        last_s=found.not_valid_after_utc.timestamp(),
    )
