"""Labels are read in COCO's form, and what is wrong with them is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeapp.errors import LabelsError
from edgeapp.measure.accuracy import Label
from edgeapp.measure.labels import LabelledFrame, read_labels
from edgeapp.types import Box

_DOCUMENT: dict[str, Any] = {
    "info": {"year": 2026},
    "images": [{"id": 7, "width": 200, "height": 100, "frame": 3}, {"id": 8, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 7, "category_id": 1, "bbox": [20, 10, 40, 50], "iscrowd": 1},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 1, 1]},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "kite"}],
}


def _read(**changes: Any) -> tuple[LabelledFrame, ...]:
    return read_labels(json.dumps({**_DOCUMENT, **changes}).encode(), ("dog", "person"), "labels.json")


def test_boxes_become_shares_and_unknown_categories_are_left_out() -> None:
    assert _read() == (
        LabelledFrame(3, (Label(Box(0.1, 0.1, 0.3, 0.6), 1, True),)),
        LabelledFrame("b.png", ()),
    )


def test_a_label_without_a_box_is_of_the_whole_frame() -> None:
    frames = _read(annotations=[{"image_id": 8, "category_id": 1}])
    assert frames[1].labels == (Label(Box(0.0, 0.0, 1.0, 1.0), 1),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "COCO's form"),
        (b"[]", "COCO's form"),
        (b'{"images": []}', "no 'categories'"),
        (json.dumps({**_DOCUMENT, "annotations": [{"image_id": 9, "category_id": 1}]}).encode(), "no 9"),
        (json.dumps({**_DOCUMENT, "annotations": []}).encode(), "found none; categories"),
        (
            json.dumps(
                {**_DOCUMENT, "annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 2]}]},
            ).encode(),
            "COCO's form",
        ),
    ],
)
def test_what_is_no_such_document_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(LabelsError, match=r"labels\.json") as caught:
        read_labels(text, ("person",), "labels.json")
    assert words in str(caught.value)
