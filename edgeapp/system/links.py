"""Over which network interface the way to the internet leads, as the kernel says."""

from __future__ import annotations

from pathlib import Path

_ROUTES = Path("/proc/net/route")
_ROUTES_V6 = Path("/proc/net/ipv6_route")
_UP = 0x1
_REJECT = 0x200
_ZEROS_V6 = "0" * 32


def default_interfaces(routes: Path = _ROUTES, routes_v6: Path = _ROUTES_V6) -> frozenset[str]:
    """The interfaces of the default routes, IPv4 and IPv6; () where there is none."""
    return frozenset(_v4(routes)) | frozenset(_v6(routes_v6))


def _v4(path: Path) -> list[str]:
    rows = [line.split() for line in _lines(path)[1:]]
    return [row[0] for row in rows if len(row) > 7 and row[1] == row[7] == "0" * 8 and int(row[3], 16) & _UP]


def _v6(path: Path) -> list[str]:
    rows = [line.split() for line in _lines(path)]
    return [
        row[9]
        for row in rows
        if len(row) > 9 and row[0] == _ZEROS_V6 and row[1] == "00" and int(row[8], 16) & (_UP | _REJECT) == _UP
    ]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
