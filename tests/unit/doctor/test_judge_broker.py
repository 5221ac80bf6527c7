"""Each judgement about the link: what makes it warn or fail, and that it then says what to do."""

from __future__ import annotations

import pytest

from edgeapp.doctor import judge_broker
from edgeapp.doctor.judge_broker import CertificateLook
from edgeapp.messaging import tls

_DAY_S = 86400.0
_NOW_S = 1_795_824_000.0  # 2026-11-28
_SHOWN = CertificateLook(
    subject="CN=broker",
    hosts=("broker.test", "10.0.0.5"),
    issuer="CN=authority",
    first_s=_NOW_S - 300 * _DAY_S,
    last_s=_NOW_S + 65 * _DAY_S,
)


def test_a_broker_that_welcomes_us_tells_how_soon() -> None:
    found = judge_broker.broker("b.lan:1883", "", 12.4, way="MQTT 5")
    assert found.found == "b.lan:1883: welcomes us after 12 ms, MQTT 5"


@pytest.mark.parametrize(
    ("error", "do"),
    [
        ("name not found", "getent hosts b.lan"),
        ("connection refused", "mqtt.port (1883)"),
        ("no route", "ip route"),
        ("no answer within 5 s", "ping b.lan"),
        ("not authorised: user name or password is wrong", "mqtt.username"),
        ("password file /x cannot be read: No such file or directory", "mqtt.password_file"),
        ("what answers does not speak MQTT", "mqtt.tls"),
        ("closed before the broker's welcome: is that port one for TLS? See mqtt.tls", "mqtt.port"),
        (tls.NO_TLS, "8883"),
        (tls.WANTS_CERTIFICATE, "set both"),
        ("the broker's certificate has expired: renew it", "openssl s_client -connect b.lan:1883"),
        ("the broker refuses our certificate (mqtt.tls.cert_file): unknown ca", "which authority"),
        ("the broker speaks no TLS that is new enough", "update the broker"),
        ("mqtt.tls.ca_file /x cannot be read: No such file or directory", "read it"),
        ("something nobody has seen", "log"),
    ],
)
def test_each_refusal_of_a_broker_has_its_own_advice(error: str, do: str) -> None:
    found = judge_broker.broker("b.lan:1883", error, 1.0, way="MQTT 5")
    assert (found.level, found.found) == ("fail", f"b.lan:1883: {error}")
    assert do in found.do


def test_of_a_certificate_that_is_refused_it_is_told_what_it_says() -> None:
    error = "the broker's certificate is for another host: write in mqtt.host the name that it is for"
    found = judge_broker.broker("b.lan:8883", error, 1.0, way="MQTT 5 over TLS", shown=_SHOWN)
    shown = "it shows one for broker.test, 10.0.0.5, of CN=authority, valid 2026-02-01 to 2027-02-01"
    assert found.found == f"b.lan:8883: {error}\n{shown}"


def test_credentials_that_only_root_may_read_are_no_fault_of_the_broker() -> None:
    error = "mqtt.tls.ca_file /etc/edgeapp/credentials/broker-ca.pem cannot be read: Permission denied"
    found = judge_broker.broker("b.lan:8883", error, 1.0, way="MQTT 5 over TLS")
    assert (found.level, found.do) == ("warn", "sudo edgeapp doctor")


@pytest.mark.parametrize(
    ("first_day", "last_day", "level", "said", "do"),
    [
        (-300, 65, "ok", "CN=broker, of CN=authority, valid", ""),
        (-300, 30, "ok", "", ""),
        (-300, 29, "warn", "29 days are left", "--set BROKER_CERT_FILE="),
        (-300, -1, "fail", "expired", "--set BROKER_CERT_FILE="),
        (1, 65, "fail", "clock is wrong", "timedatectl"),
    ],
)
def test_the_end_of_our_own_certificate_is_told_a_month_ahead(
    first_day: int, last_day: int, level: str, said: str, do: str
) -> None:
    look = CertificateLook(
        subject="CN=broker",
        hosts=(),
        issuer="CN=authority",
        first_s=_NOW_S + first_day * _DAY_S,
        last_s=_NOW_S + last_day * _DAY_S,
    )
    found = judge_broker.own_certificate("/x/cert.pem", look, _NOW_S)
    assert found.level == level
    assert said in found.found
    assert do in found.do


@pytest.mark.parametrize(
    ("path", "is_root", "level"),
    [
        ("/etc/edgeapp/credentials/device-cert.pem", False, "warn"),
        ("/etc/edgeapp/credentials/device-cert.pem", True, "fail"),
        ("/srv/cert.pem", False, "fail"),
    ],
)
def test_our_own_certificate_that_cannot_be_read(path: str, is_root: bool, level: str) -> None:
    found = judge_broker.unread_certificate(path, "No such file or directory", is_root=is_root)
    assert (found.level, bool(found.do)) == (level, True)
