"""How long work tells how far it is: a callback gets the step's name and the share done, 0 to 1."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]


def silent(step: str, share: float) -> None:
    """The callback for those who do not want to know."""
