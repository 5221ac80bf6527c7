"""The lock of a device is a part of the whole lock, and all that the package asks for is in it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*\n((?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n?)+)", re.MULTILINE)


def _pinned(name: str) -> dict[tuple[str, str], set[str]]:
    text = (ROOT / name).read_text()
    return {(match[1], match[2]): set(re.findall(r"sha256:(\w+)", match[3])) for match in _PINNED.finditer(text)}


def test_the_device_lock_is_a_part_of_the_whole_lock_but_for_pip() -> None:
    whole, device = _pinned("requirements.lock"), _pinned("requirements-device.lock")
    assert {name for name, _ in device.keys() - whole.keys()} == {"pip"}
    assert all(whole[key] == hashes for key, hashes in device.items() if key in whole)


def test_the_device_lock_has_what_the_package_asks_for_and_nothing_of_the_workshop() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=;]", requirement)[0].lower() for requirement in requirements}

    locked = {name for name, _ in _pinned("requirements-device.lock")}
    assert names(project["dependencies"]) <= locked
    assert not locked & (names(project["optional-dependencies"]["workshop"]) - {"flatbuffers"})
    assert not locked & names(project["optional-dependencies"]["dev"])
