"""What comes back from the larger model: its form, and whether it says the same; pure.

Whatever an endpoint answers is read by these rules or refused; nothing of it goes further than one of three words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from edgeapp.errors import EdgeAppError, EndpointError
from edgeapp.reader import Length, Range, read_json
from edgeapp.types import AGREED, DIFFERED, UNANSWERED, Box

ANSWER_MAX_BYTES = 32 * 1024
MIN_SCORE = 0.5
LEAST_SCORE = 0.2  # from here to MIN_SCORE the larger model is as unsure as the small one was
MIN_IOU = 0.4  # the larger model frames a lone thing in a crop less tightly than the small one in its picture
Share = Annotated[float, Range(0, 1, "share of the crop")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One thing that the larger model found in the crop; `box` is x_min, y_min, x_max, y_max in shares of the crop."""

    class_name: str
    score: Annotated[float, Range(0, 1, "score")]
    box: tuple[Share, Share, Share, Share]


@dataclass(frozen=True, kw_only=True, slots=True)
class AnsweringModel:
    """Which model answered."""

    name: str
    version: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """All of an answer."""

    v: Literal[1]
    model: AnsweringModel
    detections: Annotated[tuple[Found, ...], Length(0, 100, "detections")]


def read_answer(content: bytes) -> Answer:
    """The answer in a response's body.

    Raises:
        EndpointError: it is none.
    """
    if len(content) > ANSWER_MAX_BYTES:
        raise EndpointError(f"answer: expected at most {ANSWER_MAX_BYTES} bytes, found {len(content)}")
    try:
        return read_json(Answer, content, "answer")
    except EdgeAppError as error:
        raise EndpointError(str(error).splitlines()[0]) from error


def judge(answer: Answer, class_name: str, box: Box) -> str:
    """AGREED where the larger model finds the class where the small one did, DIFFERED where it does not.

    UNANSWERED where it finds it there and is not sure: then the small model's word stands. `box` is in shares of the
    crop.
    """
    scores = [
        found.score
        for found in answer.detections
        if found.class_name == class_name and Box(*found.box).iou(box) >= MIN_IOU
    ]
    best = max(scores, default=0.0)
    return AGREED if best >= MIN_SCORE else UNANSWERED if best >= LEAST_SCORE else DIFFERED
