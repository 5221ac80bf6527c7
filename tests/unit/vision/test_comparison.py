"""What two models have in common on a frame."""

from __future__ import annotations

import pytest

from edgeapp.types import Box, Detection
from edgeapp.vision.comparison import compare, next_comparison_ns

_LEFT, _RIGHT = Box(0.1, 0.1, 0.3, 0.5), Box(0.7, 0.1, 0.9, 0.5)
_SHIFTED = Box(0.15, 0.1, 0.35, 0.5)  # overlaps the left one by an IoU of 0.6


def _seen(*things: tuple[Box, str], names: tuple[str, ...] = ("person", "car")) -> tuple[list[Detection], list[str]]:
    return [Detection(box, 0.9, names.index(name)) for box, name in things], list(names)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (_seen(), _seen(), (0, 0)),
        (_seen((_LEFT, "person")), _seen(), (1, 0)),
        (_seen((_LEFT, "person")), _seen((_SHIFTED, "person")), (2, 2)),
        (_seen((_LEFT, "person")), _seen((_RIGHT, "person")), (2, 0)),
        (_seen((_LEFT, "person")), _seen((_LEFT, "car")), (2, 0)),
        (_seen((_LEFT, "person")), _seen((_LEFT, "person"), names=("dog", "person")), (2, 2)),
        (_seen((_LEFT, "car"), (_RIGHT, "person")), _seen((_RIGHT, "person"), names=("person",)), (2, 2)),
        (_seen((_LEFT, "person")), _seen((_LEFT, "dog"), names=("dog",)), (0, 0)),
    ],
    ids=["nothing", "blind", "alike", "elsewhere", "another class", "classes in another order", "a class less", "none"],
)
def test_alike_is_what_overlaps_and_has_the_same_name(one: object, other: object, expected: tuple[int, int]) -> None:
    assert compare(one, other) == expected  # type: ignore[arg-type]
    assert compare(other, one) == expected  # type: ignore[arg-type]


def test_comparing_takes_a_twentieth_of_the_time() -> None:
    started_ns, took_ns = 1_000, 50
    assert next_comparison_ns(started_ns + took_ns, took_ns) - started_ns == 20 * took_ns
