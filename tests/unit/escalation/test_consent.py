"""A consent is for one tenant, its devices, one host and one span of time; anything else allows nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeapp.errors import ConsentError
from edgeapp.escalation.consent import SiteConsent, check_consent, in_words, paths, read_consent

NOW_S = 1_780_000_000
FIELDS: dict[str, Any] = {
    "v": 1,
    "tenant": "acme",
    "devices": [],
    "purpose": "a second opinion on uncertain detections",
    "retention_days": 0,
    "endpoint_host": "oracle.example.org",
    "responsible": "Anna Muster, privacy@example.org",
    "begins": NOW_S - 100,
    "expires": NOW_S + 86_400,
}
OWN = "sites/acme/front-door.json"
ALL = "sites/acme.json"


def consent(path: str = ALL, **changes: Any) -> SiteConsent:
    return read_consent(json.dumps({**FIELDS, **changes}).encode(), path)


def check(found: SiteConsent, *, tenant: str = "acme", device: str = "front-door", host: str = "oracle.example.org",
          now_s: float = NOW_S) -> None:  # fmt: skip
    check_consent(found, tenant=tenant, device=device, endpoint=f"https://{host}:8443/base", now_s=now_s)


def test_a_consent_in_force_allows_and_says_what() -> None:
    check(consent())
    check(consent(OWN, devices=["front-door"]))
    check(consent(devices=["front-door", "back-door"]))
    words = in_words(consent(retention_days=3))
    for part in ("oracle.example.org", "kept 3 days", "a second opinion", "Anna Muster", "2026-05-29"):
        assert part in words


@pytest.mark.parametrize(
    ("found", "asked", "why"),
    [
        ({"tenant": "other"}, {"path": "sites/other.json"}, "other devices"),
        ({"devices": ["back-door", "side-door"]}, {}, "other devices"),
        ({"endpoint_host": "elsewhere.example.org"}, {}, "for elsewhere"),
        ({"begins": NOW_S + 1}, {}, "has begun"),
        ({"expires": NOW_S}, {}, "expired on"),
    ],
)
def test_any_other_consent_does_not_allow(found: dict[str, Any], asked: dict[str, str], why: str) -> None:
    given_one = consent(asked.get("path", ALL), **found)
    with pytest.raises(ConsentError, match=why):
        check(given_one)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        (ALL, {"v": 2}),
        (ALL, {"purpose": ""}),
        (ALL, {"responsible": "two\nlines"}),
        (ALL, {"retention_days": -1}),
        (ALL, {"endpoint_host": "https://oracle"}),
        (ALL, {"more": 1}),
        (ALL, {"expires": NOW_S - 100}),
        (OWN, {}),
        (OWN, {"devices": ["back-door"]}),
        ("sites/other.json", {}),
    ],
)
def test_a_malformed_or_misplaced_consent_is_refused(path: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ConsentError):
        consent(path, **changes)


def test_a_devices_own_consent_outweighs_the_tenants() -> None:
    assert paths("acme", "front-door") == (OWN, ALL)
