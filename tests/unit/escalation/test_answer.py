"""An answer says the same or not; whatever is no answer is refused, and nothing else is raised."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.errors import EndpointError
from edgeapp.escalation.answer import ANSWER_MAX_BYTES, judge, read_answer
from edgeapp.types import AGREED, DIFFERED, UNANSWERED, Box

BOX = Box(0.25, 0.25, 0.75, 0.75)
MODEL = {"name": "large", "version": 3, "sha256": "a" * 64}


def content(*found: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({"v": 1, "model": MODEL, "detections": list(found), **changes}).encode()


def person(
    score: float = 0.9, box: tuple[float, ...] = (0.25, 0.25, 0.75, 0.75), name: str = "person"
) -> dict[str, Any]:
    return {"class_name": name, "score": score, "box": box}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([person()], AGREED),
        ([person(box=(0.2, 0.2, 0.8, 0.8))], AGREED),
        ([person(name="dog"), person()], AGREED),
        ([], DIFFERED),
        ([person(score=0.49)], UNANSWERED),
        ([person(score=0.2)], UNANSWERED),
        ([person(score=0.3), person(score=0.6)], AGREED),
        ([person(score=0.19)], DIFFERED),
        ([person(score=0.49, name="dog")], DIFFERED),
        ([person(name="dog")], DIFFERED),
        ([person(box=(0.0, 0.0, 0.3, 0.3))], DIFFERED),
    ],
)
def test_it_agrees_where_the_class_is_found_in_the_place_and_says_nothing_where_it_is_not_sure(
    found: list[dict[str, Any]], expected: str
) -> None:
    assert judge(read_answer(content(*found)), "person", BOX) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"[]",
        content(person(), v=2),
        content(person(), more="x"),
        content(person(score=1.5)),
        content(person(box=(0, 0, 2, 1))),
        content(person(box=(0, 0, 1))),
        content(*[person()] * 101),
        content(person(score=float("nan"))),
        b" " * (ANSWER_MAX_BYTES + 1),
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(EndpointError):
        read_answer(body)


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_else(body: bytes) -> None:
    with contextlib.suppress(EndpointError):
        read_answer(body)


def test_a_box_without_an_area_or_turned_over_agrees_with_nothing() -> None:
    for box in ((0.5, 0.5, 0.5, 0.5), (0.75, 0.75, 0.25, 0.25)):
        assert judge(read_answer(content(person(box=box))), "person", BOX) == DIFFERED
