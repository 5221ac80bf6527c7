"""How far two models agree on the same frames, pure.

Owns the comparison of their detections, not where those come from. It needs no ground truth: it tells what
quantization (or a new release) changed, not how good either model is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeapp.types import Detection
from edgeapp.vision.comparison import match

Frames = Sequence[tuple[Detection, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What the candidate has in common with the reference.

    A detection of the candidate matches one of the reference in the same frame, of the same class, that it overlaps
    with an intersection over union of at least the limit. The candidate's detections choose in order of falling
    score, each the free one that it overlaps most. Only detections with at least the minimum score count, on either
    side: one that is a hair above it here and a hair below it there is a difference.

    precision: matched / candidates. recall: matched / references. f1: 2 · matched / (candidates + references).
    Where nothing is to be divided by, they are 1: two models that both see nothing agree.
    mean_iou, mean_score_difference (|candidate − reference|): over the matched pairs; None without any.
    """

    frames: int
    references: int
    candidates: int
    matched: int
    precision: float
    recall: float
    f1: float
    mean_iou: float | None
    mean_score_difference: float | None

    def __str__(self) -> str:
        return (
            f"F1 {self.f1:.3f} (precision {self.precision:.3f}, recall {self.recall:.3f}; "
            f"{self.references} detections in {self.frames} frames)"
        )


def agreement(reference: Frames, candidate: Frames, *, min_score: float = 0.5, min_iou: float = 0.5) -> Agreement:
    """Compare the detections of two models, frame by frame.

    Raises:
        ValueError: the two saw different numbers of frames.
    """
    references = candidates = 0
    overlaps: list[float] = []
    differences: list[float] = []
    for seen, said in zip(reference, candidate, strict=True):
        expected = [one for one in seen if one.score >= min_score]
        found = [one for one in said if one.score >= min_score]
        references += len(expected)
        candidates += len(found)
        for one, other, overlap in match(expected, found, min_iou):
            overlaps.append(overlap)
            differences.append(abs(other.score - one.score))
    matched = len(overlaps)
    return Agreement(
        frames=len(reference),
        references=references,
        candidates=candidates,
        matched=matched,
        precision=matched / candidates if candidates else 1.0,
        recall=matched / references if references else 1.0,
        f1=2 * matched / (candidates + references) if candidates + references else 1.0,
        mean_iou=sum(overlaps) / matched if matched else None,
        mean_score_difference=sum(differences) / matched if matched else None,
    )
