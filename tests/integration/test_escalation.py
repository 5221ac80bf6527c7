"""The real daemon and a real HTTPS endpoint: pictures leave with a consent in force, and otherwise not a byte does.

The consent comes on a stick, or over nothing but a real broker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeapp.workshop import cli
from tests.fakes import endpoint as fake
from tests.fakes.broker import Broker, free_port
from tests.fakes.certificates import Authority
from tests.fakes.endpoint import Endpoint
from tests.fakes.escalating_device import OWN, EscalatingDevice, consent
from tests.fakes.workshop_lab import Desk, new_desk
from tests.fakes.written import files, findings

_TAKES_S = 60.0  # the longest that a test here takes on a busy machine
GIVEN = ("video.avi", "model", "config.yaml", "stick", "1.root.json")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[Endpoint]:
    with Endpoint(authority.sign("endpoint"), fake.finding(fake.person((0.25, 0.25, 0.75, 0.75)))) as running:
        yield running


@pytest.fixture
def device(tmp_path: Path, server: Endpoint, authority: Authority) -> Iterator[EscalatingDevice]:
    made = EscalatingDevice(tmp_path / "device", server, authority.cert, port=free_port())
    yield made
    made.kill()


def _none(device: EscalatingDevice) -> None:
    device.repository.write(device.stick)


def _expired(device: EscalatingDevice) -> None:
    device.allow(begins=int(time.time()) - 100, expires=int(time.time()) - 1)


def _of_another_device(device: EscalatingDevice) -> None:
    device.allow(path="sites/default.json", devices=["back-door", "side-door"])


def _for_another_host(device: EscalatingDevice) -> None:
    device.allow(endpoint_host="oracle.example.org")


def _forged(device: EscalatingDevice) -> None:
    """Listed by targets that somebody else signed."""
    device.repository.add(OWN, consent(), None)
    device.repository.sign("targets", "mallory0", "mallory1")
    device.repository.write(device.stick)


def _altered(device: EscalatingDevice) -> None:
    """Signed for another host, then changed on the stick."""
    device.allow(endpoint_host="oracle.example.org")
    path = device.stick / "targets" / OWN
    path.write_bytes(path.read_bytes().replace(b"oracle.example.org", b"127.0.0.1"))


def _on_stale_metadata(device: EscalatingDevice) -> None:
    """Whose timestamp has expired: it may have been taken back since."""
    device.repository.timestamp.signed.expires = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    device.allow()


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (_none, "among the signed targets"),
        (_expired, "expired"),
        (_of_another_device, "other devices"),
        (_for_another_host, "found one for oracle"),
        (_forged, "E_MD_SIG"),
        (_altered, "E_LENGTH"),
        (_on_stale_metadata, "E_MD_EXPIRED"),
    ],
)
def test_without_a_consent_in_force_not_a_byte_leaves(
    device: EscalatingDevice, server: Endpoint, prepare: Callable[[EscalatingDevice], None], why: str
) -> None:
    prepare(device)
    device.start()
    status = device.wait(lambda one: one.escalation is not None and why in one.escalation.consent, why)
    assert status.escalation is not None
    assert not status.escalation.has_consent
    inferred = status.frames_inferred
    device.wait(lambda one: one.frames_inferred > inferred + 40, "two seconds of frames")
    assert server.connections == 0
    shown = device.command("status", "--config", str(device.config_path)).stdout
    assert "no picture leaves" in shown
    assert why in " ".join(shown.split())  # it is wrapped


def test_with_a_consent_crops_leave_and_only_those(device: EscalatingDevice, server: Endpoint) -> None:
    device.allow()
    device.start()
    server.wait(lambda one: len(one.crops) >= 2, "two crops")
    for pid in (device.pid, *device.visions()):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert [line.split()[4:6] for line in limits if line.startswith("Max core file size")] == [["0", "0"]]
    for jpeg in server.crops:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        height, width = picture.shape[:2]
        assert max(height, width) <= 256
        middle = picture[int(0.4 * height) : int(0.6 * height), int(0.4 * width) : int(0.6 * width)]
        assert middle.mean() > 200, "it shows the white square"
        assert picture.mean() < 200, "and its surroundings"
    status = device.wait(lambda one: one.escalation is not None and one.escalation.is_endpoint_up, "the endpoint")
    assert status.escalation is not None
    assert "answers for it: Anna Muster" in status.escalation.consent
    written = files(device.folder, but=GIVEN)
    assert findings(written, counts=[], scores=[]) == []
    device.allow(endpoint_host="oracle.example.org")
    device.stop()
    server.settle()
    crops = len(server.crops)
    device.start()
    device.wait(lambda one: one.escalation is not None and "oracle" in one.escalation.consent, "the consent to end")
    assert len(server.crops) == crops


def test_a_start_in_the_same_hour_gives_no_budget_back(device: EscalatingDevice, server: Endpoint) -> None:
    left_s = 3600 - time.time() % 3600
    if left_s < _TAKES_S:
        time.sleep(left_s)  # the next hour has a budget of its own
    device.allow()
    device.start()
    server.wait(lambda one: bool(one.crops), "a crop")
    device.kill()
    server.settle()
    crops = len(server.crops)
    device.start()
    status = device.wait(lambda one: one.escalation is not None and one.escalation.is_endpoint_up, "the endpoint")
    inferred = status.frames_inferred
    device.wait(lambda one: one.frames_inferred > inferred + 80, "a whole walk")
    assert len(server.crops) == crops


def _publish_consents(desk: Desk, port: int, *staged: str) -> None:
    """What the site's signers do: stage, sign, and publish to the broker alone."""
    options = ["--repository", str(desk.repository.folder), "--yes"]
    keys = ["--keys", str(desk.folder / "keys")]
    assert cli.main(["site", *staged, *options]) == 0
    assert cli.main(["release", "sign", *options, *keys]) == 0
    to = f"mqtt://127.0.0.1:{port}/edgeapp/v1/default"
    assert cli.main(["release", "publish", "--to", to, *options, *keys]) == 0


ALLOW = (
    "allow", "--device", "test-device", "--purpose", "a second opinion", "--host", "127.0.0.1",
    "--responsible", "Anna Muster, privacy@example.org", "--retention-days", "0", "--days", "30",
)  # fmt: skip


def test_over_mqtt_alone_a_consent_comes_lets_pictures_out_and_ends_when_it_is_taken_back(
    tmp_path: Path, server: Endpoint, authority: Authority
) -> None:
    desk = new_desk(tmp_path, datetime.now(UTC).replace(microsecond=0))
    with Broker(tmp_path / "broker") as broker:
        device = EscalatingDevice(
            tmp_path / "device", server, authority.cert, port=broker.port, program="tests.fakes.measured_daemon",
            updates={"folder": None, "urls": [], "blocks": True},
        )  # fmt: skip
        (device.folder / "1.root.json").write_bytes(desk.repository.first_root)
        with device:
            _publish_consents(desk, broker.port, *ALLOW)
            server.wait(lambda one: bool(one.crops), "a crop", 60)
            _publish_consents(desk, broker.port, "revoke", "--device", "test-device")
            ended = device.wait(lambda one: one.escalation is not None and not one.escalation.has_consent, "its end")
            assert ended.escalation is not None
            assert "E_CONSENT: expected sites/default/test-device.json" in ended.escalation.consent
            crops, inferred = len(server.crops), ended.frames_inferred
            device.wait(lambda one: one.frames_inferred > inferred + 40, "two seconds of frames")
            assert len(server.crops) == crops
