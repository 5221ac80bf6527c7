"""How right a model is on labelled frames, pure: AP50, AP50:95, top-1, count error, each with its interval.

Average precision is COCO's: detections in order of falling score take the free labelled box of their class that they
overlap most, by at least the threshold; precision is made monotone and read at 101 recalls; the mean over the classes
that are labelled and, for AP50:95, over the thresholds 0.50, 0.55 … 0.95. A crowd region is no object: what lies in it
is neither right nor wrong. At most 100 detections count in a frame.

The interval resamples frames. Frames of one video resemble one another, so it is too narrow rather than too wide.

Source: cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py, `evaluateImg` and `accumulate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeapp.measure.bootstrap import Weights, interval
from edgeapp.measure.figures import Figure
from edgeapp.types import Box, Detection

Statistic = Callable[[Weights], float]
"""Of frames that each count as often as its weight says."""
Reals = npt.NDArray[np.float64]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_DETECTIONS = 100
_HAIR = 1e-10


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that is in a frame. A label of a classifier has the whole frame for its box."""

    box: Box
    class_index: int
    is_crowd: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """One frame: what is in it, and what the model found."""

    labels: tuple[Label, ...]
    found: tuple[Detection, ...]


def detection_figures(frames: Sequence[Judged], *, min_score: float) -> dict[str, Figure]:
    """ap50, ap50_95, and count_error: by how many the count of a frame is wrong, in the mean, from `min_score` on.

    A figure that is undefined (nothing is labelled) is left out.
    """
    return figures_of(len(frames), detection_statistics(frames, min_score))


def classification_figures(frames: Sequence[Judged]) -> dict[str, Figure]:
    """top1: the share of frames whose best class is the labelled one."""
    return figures_of(len(frames), classification_statistics(frames))


def detection_statistics(frames: Sequence[Judged], min_score: float) -> dict[str, Statistic]:
    """What `detection_figures` are computed by."""
    precision = AveragePrecision(frames)
    errors = np.array([_count_error(frame, min_score) for frame in frames], np.float64)
    return {
        "ap50": lambda weights: precision.at(weights)[0],
        "ap50_95": lambda weights: precision.at(weights)[1],
        "count_error": lambda weights: float(np.average(errors, weights=weights)),
    }


def classification_statistics(frames: Sequence[Judged]) -> dict[str, Statistic]:
    """What `classification_figures` are computed by."""
    hits = np.array([_is_hit(frame) for frame in frames], np.float64)
    return {"top1": lambda weights: float(np.average(hits, weights=weights))}


def figures_of(count: int, statistics: Mapping[str, Statistic]) -> dict[str, Figure]:
    """Each statistic of so many frames with its interval; one that is undefined is left out."""
    figures: dict[str, Figure] = {}
    for name, statistic in statistics.items():
        value = statistic(np.ones(count, np.int64)) if count else np.nan
        if np.isfinite(value):
            figures[name] = Figure(float(value), *(interval(count, statistic) or ()))
    return figures


def _count_error(frame: Judged, min_score: float) -> int:
    found = sum(one.score >= min_score for one in frame.found)
    return abs(found - sum(not label.is_crowd for label in frame.labels))


def _is_hit(frame: Judged) -> bool:
    best = max(frame.found, key=lambda one: one.score, default=None)
    return best is not None and best.class_index in {label.class_index for label in frame.labels}


class AveragePrecision:
    """Detections matched once, so that any weighting of the frames costs only sums."""

    def __init__(self, frames: Sequence[Judged]) -> None:
        classes = sorted({label.class_index for frame in frames for label in frame.labels if not label.is_crowd})
        self._classes = [_OneClass(frames, index) for index in classes]

    def at(self, weights: Weights) -> tuple[float, float]:
        """(AP50, AP50:95) where each frame counts as often as its weight says; NaN where nothing is labelled."""
        rows = [each.precisions(weights) for each in self._classes if weights @ each.label_counts > 0]
        if not rows:
            return np.nan, np.nan
        table = np.array(rows)
        return float(table[:, 0].mean()), float(table.mean())


class _OneClass:
    """All detections of one class in order of falling score: frame, and for each threshold right or wrong."""

    def __init__(self, frames: Sequence[Judged], class_index: int) -> None:
        self.label_counts = np.zeros(len(frames), np.int64)
        scores: list[float] = []
        numbers: list[int] = []
        outcomes: list[npt.NDArray[np.int8]] = []
        for number, frame in enumerate(frames):
            labels = [label for label in frame.labels if label.class_index == class_index]
            found = sorted((one for one in frame.found if one.class_index == class_index), key=lambda one: -one.score)
            found = found[:_MOST_DETECTIONS]
            self.label_counts[number] = sum(not label.is_crowd for label in labels)
            scores += [one.score for one in found]
            numbers += [number] * len(found)
            outcomes += list(_outcomes(labels, found).T)
        order = np.argsort(-np.array(scores), kind="stable")
        self._frames = np.array(numbers, np.intp)[order]
        matched = np.array(outcomes, np.int8).reshape(len(scores), len(THRESHOLDS))[order].T
        self._right, self._wrong = matched == 1, matched == 0

    def precisions(self, weights: Weights) -> Reals:
        """Average precision at each threshold."""
        drawn = weights[self._frames]
        right, wrong = np.cumsum(self._right * drawn, axis=1), np.cumsum(self._wrong * drawn, axis=1)
        recall = right / (weights @ self.label_counts)
        precision = right / np.maximum(right + wrong, 1)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        padded = np.hstack([envelope, np.zeros((len(envelope), 1))])
        at = [np.searchsorted(row, _RECALLS, side="left") for row in recall]
        return np.array([row[places].mean() for row, places in zip(padded, at, strict=True)])


def _outcomes(labels: Sequence[Label], found: Sequence[Detection]) -> npt.NDArray[np.int8]:
    """[thresholds, detections]: 1 right, 0 wrong, -1 does not count (it lies in a crowd)."""
    ordered = sorted(labels, key=lambda label: label.is_crowd)
    overlaps = [[_overlap(one.box, label) for label in ordered] for one in found]
    outcomes = np.zeros((len(THRESHOLDS), len(found)), np.int8)
    for row, threshold in enumerate(THRESHOLDS):
        taken: set[int] = set()
        for column, shares in enumerate(overlaps):
            best, least = None, min(float(threshold), 1 - _HAIR)
            for index, share in enumerate(shares):
                is_crowd = ordered[index].is_crowd
                if is_crowd and best is not None and not ordered[best].is_crowd:
                    break
                if (is_crowd or index not in taken) and share >= least:
                    best, least = index, share
            if best is not None:
                taken.add(best)
                outcomes[row, column] = -1 if ordered[best].is_crowd else 1
    return outcomes


def _overlap(box: Box, label: Label) -> float:
    """Intersection over union; with a crowd, the share of the detection that lies in it."""
    if not label.is_crowd:
        return box.iou(label.box)
    width = min(box.x_max, label.box.x_max) - max(box.x_min, label.box.x_min)
    height = min(box.y_max, label.box.y_max) - max(box.y_min, label.box.y_min)
    area = box.width * box.height
    return max(width, 0.0) * max(height, 0.0) / area if area > 0 else 0.0
