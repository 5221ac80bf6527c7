"""Which requests are heard at all."""

from __future__ import annotations

import pytest

from edgeapp.aim.request import COOKIE, MAX_BODY_BYTES, Refusal, Request, body_bytes, hosts_of, is_local, refusal

HOSTS = hosts_of("192.168.1.7", 8443, "shop")
PAGE = Request("GET", "/", {"host": "192.168.1.7:8443"})
POST_HEADERS = {
    "host": "192.168.1.7:8443",
    "origin": "https://192.168.1.7:8443",
    "x-edgeapp-aim": "1",
    "content-type": "application/json",
    "sec-fetch-site": "same-origin",
}


def status(method: str, headers: dict[str, str]) -> int | None:
    found = refusal(Request(method, "/", headers), HOSTS)
    return found.status if found else None


def test_the_page_and_what_it_sends_is_heard() -> None:
    assert refusal(PAGE, HOSTS) is None
    assert status("POST", POST_HEADERS) is None
    assert status("POST", {**POST_HEADERS, "content-type": "Application/JSON; charset=utf-8"}) is None


@pytest.mark.parametrize("host", ["192.168.1.7:8443", "SHOP:8443", "shop.local:8443"])
def test_the_names_of_this_machine_lead_here(host: str) -> None:
    assert status("GET", {"host": host}) is None


@pytest.mark.parametrize(
    "host",
    ["", "evil.example:8443", "192.168.1.7", "192.168.1.7:80", "192.168.1.7.evil.example:8443", "localhost:8443"],
)
def test_a_name_that_leads_here_by_a_trick_is_refused(host: str) -> None:
    assert status("GET", {"host": host}) == 421
    assert status("POST", {**POST_HEADERS, "host": host, "origin": f"https://{host}"}) == 421


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("origin", "https://evil.example", 403),
        ("origin", "http://192.168.1.7:8443", 403),
        ("origin", "https://192.168.1.7", 403),
        ("origin", "null", 403),
        ("origin", None, 403),
        ("x-edgeapp-aim", None, 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("content-type", "application/x-www-form-urlencoded", 415),
        ("content-type", "text/plain", 415),
        ("content-type", None, 415),
    ],
)
def test_a_write_of_another_site_is_refused(name: str, value: str | None, expected: int) -> None:
    headers = {key: each for key, each in POST_HEADERS.items() if key != name}
    assert status("POST", headers if value is None else {**headers, name: value}) == expected


def test_another_site_cannot_read_either() -> None:
    assert status("GET", {"host": "192.168.1.7:8443", "sec-fetch-site": "cross-site"}) == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    assert status(method, POST_HEADERS) == 405


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0),
        ({"content-length": "12"}, 12),
        ({"content-length": str(MAX_BODY_BYTES)}, MAX_BODY_BYTES),
        ({"content-length": str(MAX_BODY_BYTES + 1)}, 413),
        ({"content-length": "9" * 400}, 400),
        ({"content-length": "-1"}, 400),
        ({"content-length": "1_0"}, 400),
        ({"content-length": "\u0661"}, 400),
        ({"content-length": "5", "transfer-encoding": "chunked"}, 411),
    ],
)
def test_a_body_is_bounded_before_it_is_read(headers: dict[str, str], expected: int) -> None:
    found = body_bytes(headers)
    assert (found.status if isinstance(found, Refusal) else found) == expected


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.7", "169.254.3.3", "::1", "fe80::1%eth0", "fd00::7",
     "::ffff:192.168.1.9"],
)  # fmt: skip
def test_an_address_of_the_house_is_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "::", "8.8.8.8", "100.64.0.1", "224.0.0.1", "255.255.255.255", "2a00:1450::1", "ff02::1", "shop", "",
     "::ffff:8.8.8.8", "172.32.0.1"],
)  # fmt: skip
def test_every_other_address_is_not(address: str) -> None:
    assert not is_local(address)


@pytest.mark.parametrize(
    ("cookie", "token"),
    [
        (f"{COOKIE}=abc", "abc"),
        (f"a=b; {COOKIE}=abc; c=d", "abc"),
        ("", ""),
        ("a=b", ""),
        ("=;;=\x00", ""),
        ("aim=abc", ""),
    ],
)
def test_the_token_is_found_in_the_cookies(cookie: str, token: str) -> None:
    assert Request("GET", "/", {"cookie": cookie}).token == token


def test_names_stand_as_a_browser_writes_them() -> None:
    assert hosts_of("fe80::7%eth0", 443, "shop") == {
        f"{name}{port}" for name in ("[fe80::7]", "shop", "shop.local") for port in ("", ":443")
    }
    assert "localhost:1" in hosts_of("127.0.0.1", 1, "shop")
