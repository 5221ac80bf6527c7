"""What two models have in common on one frame, pure: which detections are alike, and how often it is worth asking.

During a trial the model of before is still warm, so vision lets it see some of the frames that the new one saw. Neither
needs to be right for that: a model that has gone blind, or sees things everywhere, differs from one that has not, and
on the same frames night and day, rain and rush hour are the same for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeapp.types import Detection

_MIN_IOU = 0.5
_COMPARING_SHARE = 0.05  # of the time
Seen = tuple[Sequence[Detection], Sequence[str]]
"""The detections of a model and the names of its classes."""


def match(
    reference: Sequence[Detection], candidate: Sequence[Detection], min_iou: float
) -> list[tuple[Detection, Detection, float]]:
    """Pairs (reference, candidate, intersection over union) of one frame.

    The candidate's detections choose in order of falling score, each the free one of its class that it overlaps most.
    """
    free = list(reference)
    pairs = []
    for found in sorted(candidate, key=lambda one: -one.score):
        options = [(one.box.iou(found.box), one) for one in free if one.class_index == found.class_index]
        overlap, best = max(options, key=lambda option: option[0], default=(0.0, None))
        if best is not None and overlap >= min_iou:
            free.remove(best)
            pairs.append((best, found, overlap))
    return pairs


def compare(one: Seen, other: Seen) -> tuple[int, int]:
    """(detections of both models together, how many of these have their like on the other side), in one frame.

    Classes go by their names; what only one of the models knows is left out.
    """
    (ours, our_names), (theirs, their_names) = one, other
    common = {name: index for index, name in enumerate(our_names) if name in their_names}
    expected = [each for each in ours if our_names[each.class_index] in common]
    found = [
        replace(each, class_index=common[their_names[each.class_index]])
        for each in theirs
        if their_names[each.class_index] in common
    ]
    return len(expected) + len(found), 2 * len(match(expected, found, _MIN_IOU))


def next_comparison_ns(now_ns: int, took_ns: int) -> int:
    """When the next frame may be compared after one that took so long, so that comparing takes a 20th of the time."""
    return now_ns + round(took_ns * (1 / _COMPARING_SHARE - 1))
