"""Judges the broker's answer. Pure."""

from __future__ import annotations

from edgeapp.doctor.report import Judgement


def broker(where: str, error: str, took_ms: float, *, way: str) -> Judgement:
    """The broker's answer to a client with a name of its own; `error` is empty where it was welcomed.

    `way` says what was spoken last, such as "MQTT 5 over TLS".
    """
    if not error:
        return Judgement("ok", f"{where}: welcomes us after {took_ms:.0f} ms, {way}")
    return Judgement("fail", f"{where}: {error}", _broker_advice(error, where))


def _broker_advice(error: str, where: str) -> str:
    host, _, port = where.rpartition(":")
    table = {
        "name not found": f"correct mqtt.host, or ask the name server:  getent hosts {host}",
        "the name server": "check the network:  ip route ; cat /etc/resolv.conf",
        "connection refused": f"start the broker, or correct mqtt.port ({port}): the host answers, but nothing listens",
        "no route": "check the network:  ip address ; ip route",
        "no answer": f"a firewall, or the wrong host?  ping {host}",
        "connected, but": "what listens there is no MQTT broker, or an overloaded one: check mqtt.port",
        "not authorised": "correct mqtt.username and mqtt.password_file, or allow this user on the broker",
        "password file": "correct mqtt.password_file: a file that the service's user may read, with the password alone",
        "closed before": "check mqtt.port: a port for TLS or for WebSockets closes on plain MQTT; look into its log",
        "what answers does not speak TLS": f"set mqtt.port to the broker's port for TLS, often 8883, not {port}",
        "what answers does not speak MQTT": "check mqtt.port, and whether that port wants mqtt.tls; look into its log",
        "the broker's certificate": f"look at it:  openssl s_client -connect {where} -showcerts </dev/null",
        "the broker wants a client": "ask the broker's owner for a certificate and a key, and set both",
        "the broker refuses our cert": "ask the broker's owner which authority it trusts, and since when it is expired",
        "the broker speaks no TLS": "update the broker",
        "mqtt.tls.": "correct that key, or the file: the service's user must be able to read it",
    }
    return next((advice for start, advice in table.items() if error.startswith(start)), "look into the broker's log")
