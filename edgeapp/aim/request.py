"""Which requests are heard at all: the rules, pure.

Owns the guards against other web sites in the same browser (a foreign Host, a foreign Origin, a form), against names
that lead here by a trick (DNS rebinding), and against strangers from beyond the local network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

MAX_BODY_BYTES = 64 * 1024
COOKIE = "__Host-aim"  # this prefix: browsers take it with Secure and for the whole host alone
MARKER = "x-edgeapp-aim"  # a page of another site cannot send it without being asked first, and that is refused
_SHARED = ipaddress.ip_network("100.64.0.0/10")  # of providers, not of the house


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `headers` have names in lower case; `query` is what stands behind the path's question mark."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    query: str = ""

    @property
    def token(self) -> str:
        """The session's token in the cookie, or an empty text."""
        try:
            cookie = SimpleCookie(self.headers.get("cookie", ""))
        except CookieError:
            return ""
        return cookie[COOKIE].value if COOKIE in cookie else ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not heard, with its HTTP status."""

    status: int
    text: str


def refusal(request: Request, hosts: frozenset[str]) -> Refusal | None:
    """Why `request` is not heard; None where it is. `hosts` are the names that lead here, with port."""
    host = request.headers.get("host", "").lower()
    if host not in hosts:
        return Refusal(421, "Host: expected the address that the terminal shows, found another")
    if request.method not in ("GET", "POST"):
        return Refusal(405, "expected GET or POST")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return Refusal(403, "a request of another site")
    if request.method == "POST":
        return _refusal_of_post(request, f"https://{host}")
    return None


def _refusal_of_post(request: Request, origin: str) -> Refusal | None:
    if request.headers.get("origin", "").lower() != origin:
        return Refusal(403, f"Origin: expected {origin}, found another")
    if request.headers.get(MARKER) != "1":
        return Refusal(403, f"expected the header {MARKER}: 1")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return Refusal(415, "expected application/json")
    return None


def body_bytes(headers: Mapping[str, str]) -> int | Refusal:
    """How long the body is that follows these headers, or why it is not read."""
    if "transfer-encoding" in headers:
        return Refusal(411, "expected a Content-Length")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return Refusal(400, "Content-Length: expected a number")
    return int(text) if int(text) <= MAX_BODY_BYTES else Refusal(413, f"expected at most {MAX_BODY_BYTES} bytes")


def is_local(address: str) -> bool:
    """Whether an IP address belongs to the machine or to a private network, and names one place."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_loopback or found.is_link_local:
        return True
    is_nowhere = found.is_unspecified or found.is_multicast or found.is_reserved
    return found.is_private and not is_nowhere and found not in _SHARED


def place_of(address: str, port: int) -> str:
    """The address and the port as a browser's address line has them."""
    return f"[{address.partition('%')[0]}]:{port}" if ":" in address else f"{address}:{port}"


def hosts_of(address: str, port: int, machine: str) -> frozenset[str]:
    """What a browser's Host header may say: the address, or the machine's name, each with the port."""
    names = {place_of(address, port).rpartition(":")[0], machine, f"{machine}.local"}
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        names.add("localhost")
    ports = ("", f":{port}") if port == 443 else (f":{port}",)
    return frozenset(f"{name.lower()}{suffix}" for name in names for suffix in ports)
