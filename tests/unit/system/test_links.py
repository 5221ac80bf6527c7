"""The interfaces of the default routes, as the kernel's two tables tell them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeapp.system.links import default_interfaces

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
DEFAULT = "{}\t00000000\t0101A8C0\t{:04X}\t0\t0\t100\t00000000\t0\t0\t0\n"
LOCAL = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
V6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 {} {} 00000001 00000000 {} {}\n"
NEXT = "fe800000000000000000000000000001"


@pytest.mark.parametrize(
    ("v4", "v6", "expected"),
    [
        (HEAD + LOCAL, "", set()),
        (HEAD + LOCAL + DEFAULT.format("wwan0", 3), "", {"wwan0"}),
        (HEAD + DEFAULT.format("eth0", 3) + DEFAULT.format("ppp0", 3), "", {"eth0", "ppp0"}),
        (HEAD + DEFAULT.format("eth0", 2), "", set()),
        (HEAD, V6.format(NEXT, "00000064", "00000003", "wwan0"), {"wwan0"}),
        (HEAD, V6.format("0" * 32, "ffffffff", "00200200", "lo"), set()),
        ("garbage\n\nmore", "garbage\n", set()),
    ],
)
def test_the_default_routes_are_found(tmp_path: Path, v4: str, v6: str, expected: set[str]) -> None:
    (tmp_path / "route").write_text(v4)
    (tmp_path / "ipv6_route").write_text(v6)
    assert default_interfaces(tmp_path / "route", tmp_path / "ipv6_route") == expected


def test_without_the_tables_there_is_none(tmp_path: Path) -> None:
    assert default_interfaces(tmp_path / "none", tmp_path / "none6") == frozenset()
