"""What a broker answers, and what to do about it."""

from __future__ import annotations

import pytest

from edgeapp.doctor import judge_broker
from edgeapp.messaging import tls


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
