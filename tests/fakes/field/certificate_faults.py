"""Wrong certificates, on a device that was set up: each is told at provisioning and by the running device, costs no
report, and is mended as docs/operations.md says."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.certificates import Signed
from tests.fakes.field.bare_device import PROVISION, BareDevice, Ended, differences
from tests.fakes.field.networked import CONTROL

_EXPIRED = "the broker's certificate has expired: renew it"
_OTHER_HOST = "the broker's certificate is for another host: write in mqtt.host the name that it is for"
_STRANGER = "signed by nobody we trust: is mqtt.tls.ca_file the authority's?"
_REFUSED = "the broker refuses our certificate (mqtt.tls.cert_file): unknown ca"
_KEYS = {"ca.pem": "BROKER_CA_FILE", "device.pem": "BROKER_CERT_FILE", "device.key": "BROKER_KEY_FILE"}
_PLACES = {"ca.pem": "broker-ca.pem", "device.pem": "device-cert.pem", "device.key": "device-key.pem"}


def wrong_certificates(device: BareDevice) -> str:
    """Two that the broker shows, two that the device was given; then a new one for the device."""
    keepers = device.keepers
    stray, renewed = keepers.stranger.sign("stray"), keepers.authority.sign("renewed", last_day=365)
    strangers, strays = {"ca.pem": keepers.stranger.cert}, {"device.pem": stray.cert, "device.key": stray.key}
    device.configure("telemetry.window_s=5", "mqtt.reconnect_max_s=1")
    with device.subscriber() as subscriber:
        _call_anew(device)
        _wait_delivering(device)
        _broker_shows(device, keepers.authority.sign("old", first_day=-9, last_day=-2), _EXPIRED, "valid 20")
        _broker_shows(
            device, keepers.authority.sign("other", host="broker.test"), _OTHER_HOST, "for broker.test, of CN="
        )
        _device_is_given(device, strangers, _STRANGER, "it shows one for 127.0.0.1, of CN=authority")
        _put(device, {"ca.pem": keepers.authority.cert})
        _call_anew(device)
        _wait_delivering(device)
        _device_is_given(device, strays, _REFUSED, "which authority it trusts")
        _renew(device, renewed)
        _wait_delivering(device)
        numbers = sorted({message.fields["seq"] for message in subscriber.messages if "seq" in message.fields})
    missing = set(range(numbers[0], numbers[-1])) - set(numbers)
    assert not missing, f"reports {sorted(missing)} of {numbers[0]} to {numbers[-1]} never came"
    return f"4 faults told by provisioning and device, {len(numbers)} reports and none lost"


def _broker_shows(device: BareDevice, wrong: Signed, said: str, found: str) -> None:
    """The broker's keepers make a mistake, and mend it; the device comes back by itself."""
    device.keepers.show(wrong)
    device.broker.reload()
    _call_anew(device)
    _expect_refusal(device, device.script(*PROVISION), said, found)
    _expect_told(device, said)
    device.keepers.show(device.keepers.broker)
    device.broker.reload()
    _wait_delivering(device)


def _device_is_given(device: BareDevice, wrong: dict[str, Path], said: str, found: str) -> None:
    """Provisioning refuses the files and leaves the device as it is. Somebody puts them in place all the same."""
    before = device.tree(with_times=True)
    _expect_refusal(device, device.script(*PROVISION, *_set(device, wrong)), said, found)
    assert differences(before, device.tree(with_times=True)) == []
    device.wait_status(lambda now: now.broker.is_connected, "the device to go on as before")
    _put(device, wrong)
    _call_anew(device)
    examined = device.run("edgeapp", "doctor", check=False)
    for each in ("FAIL  broker", said, found):
        assert each in _one_line(examined), examined
    _expect_told(device, said)


def _renew(device: BareDevice, new: Signed) -> None:
    """As a technician does it."""
    ended = device.script(*PROVISION[:1], *_set(device, {"device.pem": new.cert, "device.key": new.key}))
    assert ended.status == 0, ended.text
    place = device.root / "etc/edgeapp/credentials/device-cert.pem"
    assert place.read_bytes() == new.cert.read_bytes(), "the new certificate is in place"
    assert "ok    tls_cert" in ended.text, ended.text


def _expect_refusal(device: BareDevice, ended: Ended, said: str, found: str) -> None:
    assert ended.status == 1, ended.text
    for each in ("FAIL  broker", said, found, "nothing was changed"):
        assert each in _one_line(ended.text), ended.text
    assert device.is_active(), "the service runs on"


def _expect_told(device: BareDevice, said: str) -> None:
    """The status file, `edgeapp status` and the journal say it, and reports wait."""
    device.wait_status(lambda now: said in now.broker.error, f"the status to say: {said}")
    device.wait_status(lambda now: now.broker.waiting > 0, "a report that waits")
    for name, text in (
        ("edgeapp status", device.run("edgeapp", "status", check=False)),
        ("journal", device.journal("--unit", CONTROL, "--output=cat")),
    ):
        assert said in _one_line(text), f"{name}: expected {said!r}, found: {text}"


def _wait_delivering(device: BareDevice) -> None:
    device.wait_status(lambda now: now.broker.is_connected and now.broker.waiting == 0, "all reports to be delivered")


def _call_anew(device: BareDevice) -> None:
    """A certificate counts from the next connection on; one in credentials/ from the next start on."""
    device.run("systemctl", "restart", CONTROL)


def _set(device: BareDevice, files: dict[str, Path]) -> tuple[str, ...]:
    """Bring files on a stick; the options of provision.sh that name them."""
    options = []
    for name, source in files.items():
        (device.root / "srv" / f"new-{name}").write_bytes(source.read_bytes())
        options += ["--set", f"{_KEYS[name]}=/srv/new-{name}"]
    return tuple(options)


def _put(device: BareDevice, files: dict[str, Path]) -> None:
    for name, source in files.items():
        (device.root / "etc/edgeapp/credentials" / _PLACES[name]).write_bytes(source.read_bytes())


def _one_line(text: str) -> str:
    """Without the breaks of a narrow terminal; two spaces stay after a mark."""
    return " ".join(line.strip() for line in text.splitlines())
