"""How a connection to the broker may end: what is said of it, and what the broker says in our name.

Apart from `connection.py`, since that loads the MQTT library.
"""

from __future__ import annotations

from dataclasses import dataclass

LOST = "connection lost"  # without a word: the other end died, or took another client with our id
TAKEN_OVER = "another client took our id"


@dataclass(frozen=True, slots=True)
class LastWill:
    """The retained message that the broker sends in our name when we go silent."""

    topic: str
    payload: bytes
