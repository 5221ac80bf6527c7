"""What differs between two configurations, and what it takes for a change to come into force; pure.

Owns the table of effects. Acting on it is the daemon's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from edgeapp.config import Config

Effect = Literal["live", "vision", "restart"]

# live: the running parts take it over. vision: the vision process is started anew. restart: the daemon is.
# The longest entry that a key begins with counts.
_EFFECTS: dict[str, Effect] = {
    "device": "restart",
    "paths": "restart",
    "camera": "vision",
    "inference": "vision",
    "inference.max_fps": "live",
    "motion": "vision",
    "tracking": "live",
    "counting": "live",
    "telemetry": "restart",
    "privacy": "restart",
    "mqtt": "restart",
    "thermal": "restart",
    "vision": "restart",
    "updates": "restart",
    "escalation": "restart",
    "logging.level": "live",
}
_LOGIN = re.compile(r"//.*@", re.DOTALL)  # to the last @: people write passwords with @ and / unescaped


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value is another one now. Its text leaves out the user and password of a URL."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        old, new = (_LOGIN.sub("//…@", repr(value)) for value in (self.old, self.new))
        return f"{self.key}: {old} → {new}"


def differences(old: Config, new: Config) -> tuple[Change, ...]:
    """The keys that differ, in the order of the configuration; a list is compared as a whole."""
    return tuple(_differences(old, new, ""))


def effect(key: str) -> Effect:
    """What it takes for a change of a key, such as "camera.fps", to come into force.

    Raises:
        ValueError: the configuration has no such key.
    """
    known = key
    while known not in _EFFECTS:
        known, dot, _ = known.rpartition(".")
        if not dot:
            raise ValueError(f"effect: expected a key of the configuration, found {key!r}")
    return _EFFECTS[known]


def _differences(old: Any, new: Any, parent: str) -> Iterator[Change]:
    for field in dataclasses.fields(old):
        key = f"{parent}.{field.name}" if parent else field.name
        before, after = getattr(old, field.name), getattr(new, field.name)
        if dataclasses.is_dataclass(before) and dataclasses.is_dataclass(after):
            yield from _differences(before, after, key)
        elif before != after:
            yield Change(key, before, after)
