"""Bugs to be caught: each spoils what a week's reader received as a broken device would have."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.fakes.subscriber import Received
from tests.fakes.week.life import Lived


def _counts(lived: Lived) -> list[int]:
    """Where the counts of days are among what came."""
    found = [index for index, one in enumerate(lived.messages) if one.topic.endswith("/counts")]
    return [index for index in found if lived.messages[index].fields["level"] == "day"]


def _with(message: Received, **changes: Any) -> Received:
    return Received(message.topic, json.dumps({**message.fields, **changes}).encode(), message.is_retained)


def lose_a_report(lived: Lived) -> None:
    """A report was acknowledged and never came, though nobody says that it was lost."""
    lost = lived.messages[_counts(lived)[0]]
    lived.messages = [one for one in lived.messages if one.payload != lost.payload]


def tell_twice(lived: Lived) -> None:
    """The number of another report tells the day once more, with new noise."""
    (index, *_) = _counts(lived)
    told = lived.messages[index].fields
    other = next(i for i, one in enumerate(lived.messages) if one.topic.endswith("/counts") and i != index)
    counts = {**told["counts"], "entered": {"person": told["counts"]["entered"]["person"] + 3}}
    lived.messages[other] = _with(lived.messages[index], seq=lived.messages[other].fields["seq"], counts=counts)


def overspend(lived: Lived) -> None:
    """A release of a day is noised for more than its share of the budget."""
    (index, *_) = _counts(lived)
    told = lived.messages[index].fields
    lived.messages[index] = _with(lived.messages[index], dp={**told["dp"], "epsilon": 2 * told["dp"]["epsilon"]})


PLANTS: dict[str, Callable[[Lived], None]] = {
    "lost report": lose_a_report,
    "double release": tell_twice,
    "overspent budget": overspend,
}
