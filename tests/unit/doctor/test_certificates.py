"""What is read from a certificate; what a server shows is looked at in tests/integration/test_tls.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeapp.doctor import certificates
from tests.fakes.broker import free_port
from tests.fakes.certificates import Authority


def test_a_certificate_tells_hosts_issuer_and_time(tmp_path: Path) -> None:
    signed = Authority(tmp_path, "authority").sign("device", host="door.test", first_day=-1, last_day=2)
    found = certificates.in_file(signed.cert)
    assert (found.subject, found.hosts, found.issuer) == ("CN=device", ("door.test",), "CN=authority")
    assert found.first_s + 86400 == pytest.approx(time.time(), abs=600)
    assert found.last_s - 2 * 86400 == pytest.approx(time.time(), abs=600)


def test_one_without_alternative_names_is_for_no_host(tmp_path: Path) -> None:
    assert certificates.in_file(Authority(tmp_path, "authority").cert).hosts == ()


def test_a_file_without_a_certificate_raises(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_text("no PEM")
    with pytest.raises(ValueError, match="PEM"):
        certificates.in_file(path)


def test_where_nobody_answers_nothing_is_shown() -> None:
    assert certificates.shown_by("127.0.0.1", free_port()) is None
