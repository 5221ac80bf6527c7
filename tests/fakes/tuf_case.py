"""A case of what a TUF client has to do: a fresh site, a client that has its first root, and what is to come of it.

A case raises AssertionError where the client does otherwise. `CASES` has them by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fakes.tuf_site import Client, Site, serving

Case = Callable[[Site, Client], None]
CASES: dict[str, Case] = {}


def check(name: str, folder: Path) -> None:
    """Run one case in an empty folder. Raises AssertionError where the client does otherwise."""
    site = Site(is_consistent="without consistent snapshot" not in name)
    with serving(site) as address:
        client = Client(folder, site, address)
        assert client.init() == 0
        CASES[name](site, client)
        assert client.written_elsewhere() == []


def case(name: str) -> Callable[[Case], Case]:
    """Put a case on the list."""

    def add(function: Case) -> Case:
        CASES[name] = function
        return function

    return add
