"""Retained messages outside the device's own topics, and the memory of them, so that they can be taken away again.

Owns one small file with the topics that the broker may still keep for us. Without it a description that is no longer
wanted would stay on the broker for ever; and clearing it at each start, wanted or not, would make every device write to
topics that are not its own, for which some brokers cut the connection. See docs/decisions/0011.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from edgeapp.system import files

_LOGGER = logging.getLogger(__name__)
ANNOUNCED_NAME = "announced-topics"


class Announcements:
    """What is to be retained, and what is no longer. One thread calls it."""

    def __init__(self, path: Path, wanted: Mapping[str, bytes]) -> None:
        """`wanted`: payloads by topic; `path`: where the topics are remembered."""
        self._path = path
        self._wanted = wanted

    def due(self) -> list[tuple[str, bytes]]:
        """What to publish, retained, at a new connection. An empty payload takes a message away."""
        try:
            remembered = self._remembered()
            if not self._wanted.keys() <= remembered:
                self._remember(remembered | self._wanted.keys())  # before it is published, lest it be forgotten
        except (OSError, UnicodeError) as error:
            _LOGGER.warning("%s: nothing is announced: %s", self._path, error)
            return []
        return [(topic, b"") for topic in sorted(remembered - self._wanted.keys())] + list(self._wanted.items())

    def note_acknowledged(self, topic: str) -> None:
        """The broker has taken what was due for a topic."""
        if topic in self._wanted:
            return
        try:
            self._remember(self._remembered() - {topic})
        except (OSError, UnicodeError) as error:
            _LOGGER.warning("%s: %s will be taken away again at the next connection: %s", self._path, topic, error)

    def _remembered(self) -> set[str]:
        try:
            return set(self._path.read_text().split("\n")) - {""}
        except FileNotFoundError:
            return set()

    def _remember(self, topics: set[str]) -> None:
        if topics:
            files.write_durably(self._path, "\n".join(sorted(topics)).encode())
        else:
            self._path.unlink(missing_ok=True)
