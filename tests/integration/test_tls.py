"""TLS between publisher and a real mosquitto: reports arrive, and each thing that can be wrong is named with a cure."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from edgeapp.config import MqttConfig, TlsConfig
from edgeapp.doctor.checks import Machine, all_checks
from edgeapp.doctor.report import Judgement
from edgeapp.messaging.connection import Connection
from tests.fakes import packets
from tests.fakes.broker import Broker, free_port
from tests.fakes.certificates import Authority, Signed, lock_key
from tests.fakes.device import Device
from tests.fakes.sending_device import SendingDevice
from tests.fakes.subscriber import Subscriber

_WAIT_S = 60.0


class Site:
    """One authority, what it signed, and brokers that show it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "pki", "authority")
        self.stranger = Authority(folder / "pki", "stranger")
        self.device = self.authority.sign("device")

    def broker(self, shown: Signed | None = None, *options: str) -> Broker:
        shown = shown or self.authority.sign("broker")
        files = [f"cafile {self.authority.cert}", f"certfile {shown.cert}", f"keyfile {shown.key}"]
        return Broker(self.folder / "broker", options=[*files, *options])

    def trusting(self, **changes: str) -> TlsConfig:
        return TlsConfig(**{"enabled": True, "ca_file": str(self.authority.cert), **changes})  # type: ignore[arg-type]

    def known(self, **changes: str) -> TlsConfig:
        own = {"cert_file": str(self.device.cert), "key_file": str(self.device.key)}
        return self.trusting(**{**own, **changes})


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def _config(port: int, tls: TlsConfig, host: str = "127.0.0.1") -> MqttConfig:
    return MqttConfig(host=host, port=port, reconnect_max_s=1.0, tls=tls)


def _until(is_so: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not is_so():
        assert time.monotonic() < deadline_s, f"waited {_WAIT_S:.0f} s for {what()}"
        time.sleep(0.01)


def _doctor(folder: Path, config: MqttConfig, name: str = "broker") -> Judgement:
    device = Device(folder / "doctored", port=config.port, mqtt=asdict(config))
    device.write_config()
    return next(check for check in all_checks(device.config_path, Machine()) if check.name == name).look()


def _assert_told(site: Site, config: MqttConfig, said: str, advice: str, shown: str = "") -> None:
    """Publisher (for `edgeapp status`) and doctor say the same, and the doctor what it was shown and what to do."""
    with SendingDevice(site.folder, config) as device:
        _until(lambda: said in device.health.error, lambda: f"{said!r}, found {device.health.error!r}")
    found = _doctor(site.folder, config)
    assert found.level == "fail"
    assert said in found.found
    assert advice in found.do
    assert shown in found.found


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_reports_arrive_over_tls_with_client_certificates(site: Site, version: str) -> None:
    with site.broker(None, "require_certificate true", f"tls_version {version}") as broker:
        config = _config(broker.port, site.known())
        with SendingDevice(site.folder, config) as device:
            device.report(300)
            _until(lambda: device.health.delivered == 300, lambda: f"300 deliveries: {device.health}")
        found = _doctor(site.folder, config)
    assert (found.level, "MQTT 5 over TLS" in found.found) == ("ok", True)


def test_a_daemon_greets_over_tls_and_describes_itself_to_home_assistant(site: Site) -> None:
    plain_port = free_port()
    mqtt = {"tls": asdict(site.known()), "home_assistant": {"enabled": True, "prefix": "ha"}}
    with ExitStack() as stack:
        broker = stack.enter_context(site.broker(None, "require_certificate true", f"listener {plain_port} 127.0.0.1"))
        _until(lambda: _answers(plain_port), lambda: "the second listener")
        subscriber = stack.enter_context(Subscriber(plain_port))
        stack.enter_context(Device(site.folder / "device", port=broker.port, mqtt=mqtt))
        status, described = subscriber.wait(lambda messages: len(messages) >= 2, "status and description")[:2]
    assert status.fields["state"] == "online"
    assert described.topic == "ha/device/edgeapp_default_test-device/config"
    assert described.fields["components"]["status"]["state_topic"] == status.topic


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _welcome_and_leave(server: socket.socket, context: ssl.SSLContext, is_seen: threading.Event) -> None:
    """Play a broker that says hello and goodbye in one TLS record, and keeps the connection until that was seen."""
    with context.wrap_socket(server.accept()[0], server_side=True) as link, link.makefile("rb") as stream:
        assert packets.read_packet(stream)
        welcome = packets.packet(packets.CONNACK, bytes(3))  # of MQTT 5: no flags, success, no properties
        link.sendall(welcome + packets.packet(packets.DISCONNECT, b"\x8b\x00"))
        is_seen.wait(60)


def test_what_tls_has_decrypted_is_read_without_waiting_for_more(site: Site) -> None:
    """The kernel's buffer is empty by then, so that poll alone would sleep."""
    shown = site.authority.sign("broker")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.cert, shown.key)
    is_seen = threading.Event()
    waker, wake_end = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, waker, wake_end:
        waker.setblocking(False)
        threading.Thread(target=_welcome_and_leave, args=(server, context, is_seen), daemon=True).start()
        config = _config(server.getsockname()[1], site.trusting())
        connection = Connection(config, client_id="x", will=None, wake=lambda: None)
        turns = 0
        while not connection.is_open:
            connection.turn(waker, 0.1)
            turns += 1
            assert turns < 100, connection.error
        connection.turn(waker, 5.0)  # with poll alone it would sleep that long, and come back with nothing
        is_seen.set()
        assert connection.error == "the broker is shutting down"
        connection.drop("seen")


def test_an_authority_that_did_not_sign_is_named(site: Site) -> None:
    with site.broker() as broker:
        config = _config(broker.port, site.trusting(ca_file=str(site.stranger.cert)))
        said = "signed by nobody we trust: is mqtt.tls.ca_file"
        _assert_told(site, config, said, "openssl s_client", "it shows one for 127.0.0.1, of CN=authority, valid 2")


def test_without_a_ca_file_the_authorities_of_the_system_count(site: Site) -> None:
    with site.broker() as broker:
        _assert_told(site, _config(broker.port, TlsConfig(enabled=True)), "signed by nobody we trust", "openssl")


def test_an_expired_certificate_is_named(site: Site) -> None:
    with site.broker(site.authority.sign("old", first_day=-9, last_day=-1)) as broker:
        _assert_told(site, _config(broker.port, site.trusting()), "certificate has expired", "openssl s_client")


def test_a_certificate_of_the_future_makes_one_think_of_the_clock(site: Site) -> None:
    with site.broker(site.authority.sign("new", first_day=1)) as broker:
        _assert_told(site, _config(broker.port, site.trusting()), "is this device's clock right", "openssl s_client")


@pytest.mark.parametrize(("signed_for", "called"), [("127.0.0.2", "127.0.0.1"), ("broker.test", "localhost")])
def test_a_certificate_of_another_host_is_refused(site: Site, signed_for: str, called: str) -> None:
    with site.broker(site.authority.sign("other", host=signed_for)) as broker:
        config = _config(broker.port, site.trusting(), called)
        said, shown = "for another host: write in mqtt.host", f"it shows one for {signed_for}, of CN=authority"
        _assert_told(site, config, said, "openssl s_client", shown)


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_a_broker_that_wants_a_certificate_is_understood(site: Site, version: str) -> None:
    with site.broker(None, "require_certificate true", f"tls_version {version}") as broker:
        _assert_told(site, _config(broker.port, site.trusting()), "client certificate", "")


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_a_certificate_that_the_broker_does_not_trust_is_named(site: Site, version: str) -> None:
    own = site.stranger.sign("stray")
    with site.broker(None, "require_certificate true", f"tls_version {version}") as broker:
        config = _config(broker.port, site.known(cert_file=str(own.cert), key_file=str(own.key)))
        _assert_told(site, config, "refuses our certificate (mqtt.tls.cert_file): unknown ca", "which authority")


def test_our_own_certificate_that_has_expired_is_named(site: Site) -> None:
    own = site.authority.sign("late", first_day=-9, last_day=-1)
    with site.broker(None, "require_certificate true") as broker:
        config = _config(broker.port, site.known(cert_file=str(own.cert), key_file=str(own.key)))
        said = "refuses our certificate (mqtt.tls.cert_file): certificate expired"
        _assert_told(site, config, said, "when ours ends says tls_cert")
        found = _doctor(site.folder, config, "tls_cert")
    assert (found.level, "expired" in found.found) == ("fail", True)


def test_tls_on_a_plain_port_is_named(site: Site) -> None:
    with Broker(site.folder / "plain") as broker:
        _assert_told(site, _config(broker.port, site.trusting()), "does not speak TLS", "mqtt.port")


def test_plain_mqtt_on_a_port_for_tls_is_named(site: Site) -> None:
    with site.broker() as broker:
        _assert_told(site, _config(broker.port, TlsConfig()), "mqtt.tls", "mqtt.port")


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        ("ca_file", None, "cannot be read: No such file or directory"),
        ("cert_file", None, "cannot be read: No such file or directory"),
        ("key_file", None, "cannot be read: No such file or directory"),
        ("ca_file", "no PEM", "expected certificates in PEM, found none"),
        ("cert_file", "no PEM", "expected PEM"),
        ("key_file", "stray key", "does not belong to mqtt.tls.cert_file"),
        ("key_file", "locked key", "expected a key without a passphrase"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named_with_its_key(
    site: Site, key: str, content: str | None, said: str
) -> None:
    stray = site.stranger.sign("stray")
    path = site.folder / "wrong"
    if content == "locked key":
        lock_key(site.device.key, b"secret")
        path = site.device.key
    elif content is not None:
        path.write_text(stray.key.read_text() if content == "stray key" else content)
    config = _config(1, site.known(**{key: str(path)}))
    with SendingDevice(site.folder, config) as device:
        _until(lambda: device.health.error != "", lambda: "an error")
        assert device.health.error.startswith(f"mqtt.tls.{key} {path}") or content == "no PEM"
        assert said in device.health.error


@pytest.mark.parametrize(
    ("host", "is_tls", "is_told"), [("192.0.2.1", False, True), ("192.0.2.1", True, False), ("::1", False, False)]
)
def test_a_password_that_travels_in_the_open_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, is_tls: bool, is_told: bool
) -> None:
    secret = tmp_path / "password"
    config = MqttConfig(
        host=host,
        port=1,
        username="door",
        password_file=str(secret),
        reconnect_max_s=1.0,
        tls=TlsConfig(enabled=is_tls),
    )
    with caplog.at_level(logging.WARNING), SendingDevice(tmp_path, config) as device:
        _until(lambda: device.health.error != "", lambda: "the missing password file")  # before any packet is sent
    assert sum("unencrypted: see mqtt.tls" in record.message for record in caplog.records) == is_told
