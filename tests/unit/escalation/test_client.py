"""The client against a real HTTPS endpoint: with a consent it asks, bounded; without one no connection is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeapp.config import CameraConfig, Config, DeviceConfig, EscalationConfig, InferenceConfig, MqttConfig
from edgeapp.errors import ConsentError, EndpointError
from edgeapp.escalation.client import EscalationClient
from edgeapp.escalation.consent import SiteConsent
from edgeapp.escalation.opened_hours import OpenedHours
from edgeapp.escalation.outbox import MAX_WAITING, Outbox, Sealed
from edgeapp.escalation.policy import Spent, Windows, windows_at
from edgeapp.types import AGREED, DIFFERED, UNANSWERED, Box
from tests.fakes import endpoint as fake
from tests.fakes.certificates import Authority
from tests.fakes.clock import FakeClock
from tests.fakes.endpoint import Endpoint

NOW_S = 1_780_000_000.0
JPEG = b"\xff\xd8\xff" + b"pixels of somebody" * 100 + b"\xff\xd9"
BOX = Box(0.25, 0.25, 0.75, 0.75)
HERE = fake.finding(fake.person((0.25, 0.25, 0.75, 0.75)))


def consent(**changes: Any) -> SiteConsent:
    fields: dict[str, Any] = {
        "v": 1,
        "tenant": "default",
        "purpose": "a test",
        "retention_days": 0,
        "endpoint_host": "127.0.0.1",
        "responsible": "Anna",
        "begins": int(NOW_S) - 10,
        "expires": int(NOW_S) + 3 * 86_400,
    }
    return SiteConsent(**{**fields, **changes})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "authority")


@pytest.fixture
def server(authority: Authority) -> Iterator[Endpoint]:
    with Endpoint(authority.sign("endpoint"), HERE) as running:
        yield running


class Site:
    """A client whose consent, clock and link are in the test's hands."""

    def __init__(self, folder: Path, url: str, ca: Path, **settings: Any) -> None:
        self.folder = folder
        self.clock = FakeClock(NOW_S)
        self.consent: Callable[[], SiteConsent | None] = consent
        self.interfaces = frozenset({"eth0"})
        escalation = EscalationConfig(enabled=True, endpoint=url, ca_file=str(ca), answer_s=1.0, **settings)
        config = Config(
            device=DeviceConfig(id="front-door"),
            camera=CameraConfig(kind="video", source="none.avi"),
            inference=InferenceConfig(model_dir="none"),
            mqtt=MqttConfig(host="127.0.0.1"),
            escalation=escalation,
        )
        self.outbox = Outbox(Spent(Windows(0, 0, 0)))
        self.client = EscalationClient(
            config,
            self.outbox,
            OpenedHours(folder / "escalation.json", NOW_S),
            self.clock,
            fetch_consent=self._fetch,
            interfaces=lambda: self.interfaces,
        )

    def _fetch(self) -> SiteConsent | None:
        return self.consent()

    def ask(self, number: int = 1, late_s: float = 1.0) -> str:
        """Put one crop in, let the client work; the outcome."""
        due_ns = self.clock.monotonic_ns() + round(late_s * 1e9)
        self.outbox.put(Sealed(number=number, class_name="person", box=BOX, jpeg=JPEG, due_ns=due_ns))
        self.client.turn()
        sealed = self.outbox.take(0)
        if sealed is not None:
            self.client._send(sealed)
        ((told, outcome),) = self.outbox.take_outcomes()
        assert told == number
        return outcome

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.client.turn()


@pytest.fixture
def site(tmp_path: Path, server: Endpoint, authority: Authority) -> Site:
    return Site(tmp_path, server.url, authority.cert)


def test_with_a_consent_a_crop_is_asked_about_and_nothing_else_is_told(site: Site, server: Endpoint) -> None:
    assert site.ask() == AGREED
    server.behaviour = fake.nothing
    assert site.ask(2) == DIFFERED
    posted = [one for one in server.asked if one.method == "POST"]
    assert [one.body for one in posted] == [JPEG, JPEG]
    said = " ".join(f"{name}: {value}" for one in server.asked for name, value in one.headers.items())
    assert "front-door" not in said
    assert {one.path for one in server.asked} == {"/v1/health", "/v1/ask"}


def no_consent() -> SiteConsent | None:
    raise ConsentError("expected sites/default.json among the signed targets")


def unknown_consent() -> SiteConsent | None:
    return None


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (no_consent, "among the signed targets"),
        (unknown_consent, "none could be confirmed"),
        (lambda: consent(expires=int(NOW_S)), "expired"),
        (lambda: consent(begins=int(NOW_S) + 1000), "begun"),
        (lambda: consent(tenant="other"), "other devices"),
        (lambda: consent(devices=("back-door",)), "other devices"),
        (lambda: consent(endpoint_host="oracle.example.org"), "found one for oracle"),
    ],
)
def test_without_a_consent_in_force_no_connection_is_made(
    site: Site, server: Endpoint, found: Callable[[], SiteConsent | None], why: str
) -> None:
    site.consent = found
    assert site.ask() == UNANSWERED
    site.later(100)
    assert server.connections == 0
    health = site.client.health()
    assert not health.has_consent
    assert why in health.consent


def test_without_a_synchronised_clock_no_connection_is_made(site: Site, server: Endpoint) -> None:
    site.clock.synchronised = False
    assert site.ask() == UNANSWERED
    assert server.connections == 0


def test_a_consent_ends_with_its_time_or_when_it_is_taken_back(site: Site, server: Endpoint) -> None:
    site.consent = lambda: consent(expires=int(NOW_S) + 100)
    assert site.ask() == AGREED
    site.later(100)
    before = server.connections
    assert site.ask(2) == UNANSWERED
    assert site.outbox.permission.consent_until_s == 0
    site.consent = consent
    site.later(61)
    assert site.ask(3) == AGREED
    site.consent = no_consent
    site.later(3600)
    before = server.connections
    assert site.ask(4) == UNANSWERED
    assert server.connections == before


def test_a_consent_that_cannot_be_confirmed_holds_for_a_day(site: Site) -> None:
    assert site.ask() == AGREED
    site.consent = unknown_consent
    site.later(86_000)
    assert site.ask(2) == AGREED
    site.later(500)
    assert site.ask(3) == UNANSWERED


def test_what_waits_when_the_consent_ends_is_dropped(site: Site, server: Endpoint) -> None:
    site.client.turn()
    site.outbox.put(Sealed(number=1, class_name="person", box=BOX, jpeg=JPEG, due_ns=1 << 62))
    site.consent = no_consent
    site.later(3600)
    assert site.outbox.take(0) is None
    assert site.outbox.take_outcomes() == ((1, UNANSWERED),)
    assert server.crops == []


@pytest.mark.parametrize(
    "behaviour",
    [fake.status(500), fake.status(429), fake.garbage, fake.oversized, fake.dripping_headers, fake.hanging, fake.short,
     fake.redirecting],
)  # fmt: skip
def test_a_bad_endpoint_costs_an_answer_and_a_bounded_time(
    site: Site, server: Endpoint, behaviour: fake.Behaviour
) -> None:
    server.behaviour = behaviour
    assert site.ask() == UNANSWERED
    assert {one.path for one in server.asked} == {"/v1/health", "/v1/ask"}
    began = time.monotonic()
    assert site.ask(2) == UNANSWERED, "the breaker is open"
    assert len(server.crops) == 1
    assert time.monotonic() - began < 1.0
    server.behaviour = HERE
    site.later(31)
    assert site.ask(3) == AGREED, "the next probe closes it"


def test_what_an_endpoint_says_in_place_of_http_is_told_bounded_and_cannot_command_a_terminal(
    site: Site, server: Endpoint
) -> None:
    server.behaviour = lambda handler, _: handler.wfile.write(b"\x1b[2J\xffnonsense" * 3000 + b"\r\n\r\n") and None
    with pytest.raises(EndpointError) as caught:
        site.client._link.ask(JPEG, 5.0)
    assert "nonsense" in str(caught.value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_a_late_crop_is_not_sent(site: Site, server: Endpoint) -> None:
    assert site.ask(late_s=0.0) == UNANSWERED
    assert server.crops == []


def test_an_endpoint_that_is_not_there_or_not_the_one_is_not_asked(
    tmp_path: Path, server: Endpoint, authority: Authority
) -> None:
    (tmp_path / "stranger").mkdir()
    (tmp_path / "gone").mkdir()
    stranger = Site(tmp_path / "stranger", server.url, Authority(tmp_path / "other", "other").cert)
    gone = Site(tmp_path / "gone", "https://127.0.0.1:9", authority.cert)
    for site in (stranger, gone):
        assert site.ask() == UNANSWERED
        assert not site.outbox.permission.is_endpoint_up
        assert "E_ENDPOINT" in site.client.health().endpoint
    assert server.asked == []


def test_a_metered_link_is_left_alone(site: Site, server: Endpoint) -> None:
    site.interfaces = frozenset({"wwan0"})
    site.later(10)
    assert site.outbox.permission.is_metered
    assert server.connections == 0
    site.interfaces = frozenset({"eth0"})
    site.later(10)
    assert not site.outbox.permission.is_metered
    assert site.ask() == AGREED


def test_the_token_is_shown(tmp_path: Path, server: Endpoint, authority: Authority) -> None:
    (tmp_path / "token").write_text("a-long-secret-token\n")
    site = Site(tmp_path, server.url, authority.cert, token_file=str(tmp_path / "token"))
    assert site.ask() == AGREED
    assert {one.headers["Authorization"] for one in server.asked} == {"Bearer a-long-secret-token"}


def test_a_token_that_systemd_hands_over_is_shown(
    tmp_path: Path, server: Endpoint, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgeapp_token").write_text("a-long-secret-token\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    site = Site(tmp_path, server.url, authority.cert, token_file="/etc/edgeapp/credentials/token")
    assert site.ask() == AGREED
    assert {one.headers["Authorization"] for one in server.asked} == {"Bearer a-long-secret-token"}


def test_the_hour_is_opened_on_disk_before_anything_may_be_asked_in_it(site: Site) -> None:
    assert site.outbox.permission.open_hour == 0
    site.client.turn()
    assert site.outbox.permission.open_hour == windows_at(NOW_S).hour
    again = OpenedHours(site.folder / "escalation.json", NOW_S)
    assert again.kept.hour == windows_at(NOW_S).hour
    (site.folder / "escalation.json").write_text("torn")
    assert OpenedHours(site.folder / "escalation.json", NOW_S).kept.hours_this_month == 744


def test_where_the_hour_cannot_be_opened_nothing_may_be_asked_and_it_is_said_now_and_then(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.folder.joinpath("escalation.json").mkdir()
    for _ in range(100):
        site.later(0.5)
    assert site.outbox.permission.consent_until_s > 0
    assert site.outbox.permission.open_hour == 0
    assert len([record for record in caplog.records if "cannot be opened" in record.message]) == 1
    site.folder.joinpath("escalation.json").rmdir()
    site.later(61)
    assert site.outbox.permission.open_hour >= windows_at(NOW_S).hour


def test_nothing_but_the_hour_is_written(site: Site) -> None:
    assert site.ask() == AGREED
    assert [path.name for path in site.folder.iterdir()] == ["escalation.json"]
    assert (site.folder / "escalation.json").stat().st_size < 200


def test_the_newest_crop_goes_first_and_the_oldest_makes_room() -> None:
    outbox = Outbox(Spent(Windows(0, 0, 0)))
    for number in range(MAX_WAITING + 2):
        outbox.put(Sealed(number=number, class_name="person", box=BOX, jpeg=JPEG, due_ns=0))
    taken = [sealed.number for _ in range(MAX_WAITING) if (sealed := outbox.take(0))]
    assert taken == [5, 4, 3, 2]
    assert outbox.take(0) is None
    assert outbox.take_outcomes() == ((0, UNANSWERED), (1, UNANSWERED))
