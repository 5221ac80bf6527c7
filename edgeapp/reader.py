"""Reads plain values (from YAML or JSON) into frozen dataclasses, and tells every mistake at once.

Owns the meaning of the annotations below and the words of a mistake: where, what was expected, what was found, and
the nearest known key for an unknown one. Pure: it gets bytes, never a path to open.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """A number from `low` to `high`, both allowed, of `unit`."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Length:
    """A list of `low` to `high` items."""

    low: int
    high: int
    unit: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A string that the whole of `regex` matches; `meaning` says it in words."""

    regex: str
    meaning: str
