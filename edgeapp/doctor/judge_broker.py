"""Judges the broker's answer, and certificates. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from edgeapp.doctor.report import Judgement
from edgeapp.system import credentials

_DAY_S = 86400.0
_SOON_DAYS = 30
_AS_ROOT = "sudo edgeapp doctor"
_RENEW = (
    "get a new one, then:  sudo /opt/edgeapp/current/deploy/provision.sh"
    " --set BROKER_CERT_FILE=FILE --set BROKER_KEY_FILE=FILE"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateLook:
    """What stands in a certificate. Times are seconds since 1970-01-01 UTC; `hosts` are names and addresses."""

    subject: str
    hosts: tuple[str, ...]
    issuer: str
    first_s: float
    last_s: float


def broker(where: str, error: str, took_ms: float, *, way: str, shown: CertificateLook | None = None) -> Judgement:
    """The broker's answer to a client with a name of its own; `error` is empty where it was welcomed.

    `way` says what was spoken last, such as "MQTT 5 over TLS"; `shown` is the certificate of what answers there, where
    it was refused and could be had.
    """
    if not error:
        return Judgement("ok", f"{where}: welcomes us after {took_ms:.0f} ms, {way}")
    if f"{credentials.FOLDER}/" in error and "Permission denied" in error:
        return Judgement("warn", f"{where}: not tried, only root may read {credentials.FOLDER}", _AS_ROOT)
    text = f"{where}: {error}"
    if shown is not None:
        hosts = ", ".join(shown.hosts) or "no host"
        text += f"\nit shows one for {hosts}, of {shown.issuer}, valid {_days(shown)}"
    return Judgement("fail", text, _advice(error, where))


def own_certificate(path: str, found: CertificateLook, now_s: float) -> Judgement:
    """This device's own certificate: the broker refuses it outside of its time."""
    text = f"{path}: {found.subject}, of {found.issuer}, valid {_days(found)}"
    if now_s < found.first_s:
        return Judgement("fail", f"{text}: not yet, or this device's clock is wrong", "timedatectl")
    left_days = (found.last_s - now_s) / _DAY_S
    if left_days < 0:
        return Judgement("fail", f"{text}: expired", _RENEW)
    if left_days < _SOON_DAYS:
        return Judgement("warn", f"{text}: {int(left_days)} days are left", _RENEW)
    return Judgement("ok", text)


def unread_certificate(path: str, error: str, *, is_root: bool) -> Judgement:
    """This device's own certificate, which cannot be read."""
    if not is_root and path.startswith(f"{credentials.FOLDER}/"):
        return Judgement("warn", f"{path}: only root may look there", _AS_ROOT)
    return Judgement("fail", f"{path}: {error}", "correct mqtt.tls.cert_file, or the file")


def _days(found: CertificateLook) -> str:
    first, last = (datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d") for at_s in (found.first_s, found.last_s))
    return f"{first} to {last}"


def _advice(error: str, where: str) -> str:
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
        "the broker refuses our cert": "ask the broker's owner which authority it trusts; when ours ends says tls_cert",
        "the broker speaks no TLS": "update the broker",
        "mqtt.tls.": "correct that key, or the file: the service's user must be able to read it",
    }
    return next((advice for start, advice in table.items() if error.startswith(start)), "look into the broker's log")
