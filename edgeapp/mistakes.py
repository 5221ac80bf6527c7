"""What is wrong with a document, and where: the words that a person reads.

Owns the shape of a mistake and the errors that carry a list of them. Finding mistakes is left to others. Text from
a document is shown shortened and with unprintable characters escaped, so it can go to a terminal or a journal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeapp.errors import ConfigError, EdgeAppError, ManifestError

_PLAIN_KEY = re.compile(r"[\w<.-]{1,64}", re.ASCII)
_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake of a document.

    `where` is the document and, where known, the line: "config.yaml:14". `key` is the dotted way to the value. An
    empty `expected` means that `found` says it all.
    """

    where: str
    key: str
    expected: str
    found: str
    suggestion: str = ""

    def __str__(self) -> str:
        text = f"expected {self.expected}, found {self.found}" if self.expected else self.found
        advice = f"; {self.suggestion}" if self.suggestion else ""
        return ": ".join(part for part in (self.where, self.key, text + advice) if part)


class Findings:
    """Collects the mistakes of one document, called `origin`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._found: list[tuple[int, Mistake]] = []

    def add(self, line: int, key: str, expected: str, found: str, suggestion: str = "") -> None:
        """Note a mistake in `line`, counted from 1; 0 where it has no line."""
        where = f"{self._origin}:{line}" if line else self._origin
        self._found.append((line, Mistake(where, key, expected, found, suggestion)))

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """All that was noted, in the order of the lines."""
        return tuple(mistake for _, mistake in sorted(self._found, key=lambda entry: entry[0]))


class _ListingError(EdgeAppError):
    """An error that lists mistakes, one line of its text for each."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(str(mistake) for mistake in self.mistakes)


class ConfigMistakesError(_ListingError, ConfigError):
    """The configuration cannot be used; `mistakes` lists why."""


class ManifestMistakesError(_ListingError, ManifestError):
    """The JSON document cannot be used; `mistakes` lists why."""


def shown_text(text: str) -> str:
    """A text of the document, quoted, shortened and escaped."""
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…")


def shown_key(parent: str, name: str) -> str:
    """The dotted way to the key `name` of `parent`, safe to print."""
    own = name if _PLAIN_KEY.fullmatch(name) else shown_text(name)
    return f"{parent}.{own}" if parent else own
