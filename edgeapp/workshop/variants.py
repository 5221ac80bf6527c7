"""The forms of one model side by side: what they find in the same pictures, and how long they take in one run."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from edgeapp.errors import ConvertError
from edgeapp.manifest import Manifest
from edgeapp.measure.accuracy import Label
from edgeapp.measure.frames import Key
from edgeapp.measure.paired import (
    Counts,
    Paired,
    agreement_figures,
    paired_agreement,
    paired_classification,
    paired_detection,
)
from edgeapp.types import Detection
from edgeapp.vision.model import Model
from edgeapp.vision.selftest import SelfTestLimits, SelfTestReport, self_test
from edgeapp.workshop.agreement import agreement
from edgeapp.workshop.frame_sets import chosen_pictures
from edgeapp.workshop.progress import Progress
from edgeapp.workshop.quantize_verdict import Speed
from edgeapp.workshop.quiet import libraries_silenced

Found = Mapping[Key, tuple[Detection, ...]]
_LEAST_SCORE = 0.01  # average precision wants the doubtful detections too
_ROUNDS = 5
_LIMITS = SelfTestLimits(invokes=40, measure_s=2.0)


def detect(folder: Path, frames: Path, keys: Collection[Key], progress: Progress, step: str) -> Found:
    """What a model folder finds in each picture, best first, with scores from 0.01 on.

    Raises:
        EdgeAppError: the model or the pictures cannot be used.
    """
    with libraries_silenced():  # the runtime's greeting, once a process
        model = Model.load(folder, min_score=_LEAST_SCORE)
    try:
        found = {}
        for done, (key, picture) in enumerate(chosen_pictures(frames, keys, model.manifest)):
            progress(step, done / len(keys))
            found[key] = model.predict(picture)[0]
    finally:
        model.close()
    progress(step, 1.0)
    return found


def compare(
    manifest: Manifest, labels: Mapping[Key, tuple[Label, ...]] | None, reference: Found, candidate: Found
) -> dict[str, Paired]:
    """The figures of a quantized model beside the float one's; without labels, how far it agrees with that."""
    if labels is None:
        return agreement_figures(_in_common(manifest, reference, candidate))
    truth = [labels[key] for key in reference]
    before, after = list(reference.values()), [candidate[key] for key in reference]
    if manifest.task == "detection":
        return paired_detection(truth, before, after, manifest.defaults.min_score)
    return paired_classification(truth, before, after)


def improvement(
    manifest: Manifest,
    labels: Mapping[Key, tuple[Label, ...]] | None,
    reference: Found,
    before: Found,
    after: Found,
) -> dict[str, Paired]:
    """The same figures of two quantized models, `before` in the place of the float one."""
    if labels is not None:
        return compare(manifest, labels, before, after)
    return paired_agreement(*(_in_common(manifest, reference, found) for found in (before, after)))


def _in_common(manifest: Manifest, reference: Found, candidate: Found) -> list[Counts]:
    if manifest.task == "classification":
        return [(1, 1, int(_best(found) == _best(candidate[key]))) for key, found in reference.items()]
    found = (
        agreement([one], [candidate[key]], min_score=manifest.defaults.min_score) for key, one in reference.items()
    )
    return [(frame.references, frame.candidates, frame.matched) for frame in found]


def count_references(manifest: Manifest, labels: Mapping[Key, Sequence[Label]] | None, reference: Found) -> int:
    """How many things there are to be found."""
    if labels is not None:
        return sum(not label.is_crowd for key in reference for label in labels[key])
    if manifest.task == "classification":
        return len(reference)
    return sum(one.score >= manifest.defaults.min_score for found in reference.values() for one in found)


def measure_speed(folders: Mapping[str, Path], progress: Progress) -> dict[str, Speed]:
    """Bare invokes of each model folder in interleaved rounds, with XNNPACK and one thread; the first is the yardstick.

    Raises:
        ConvertError: one does not pass the device's self-test.
    """
    reports: dict[str, list[SelfTestReport]] = {name: [] for name in folders}
    for number in range(_ROUNDS):
        for place, (name, folder) in enumerate(folders.items()):
            progress("speed", (number + place / len(folders)) / _ROUNDS)
            report = self_test(folder, _LIMITS, delegate="xnnpack", threads=1)
            if not report.passed or report.median_ms is None or report.model is None:
                raise ConvertError(f"{name}: expected to pass the self-test, found {report.code}: {report.text}")
            reports[name].append(report)
    progress("speed", 1.0)
    yardstick = [report.median_ms or 0.0 for report in next(iter(reports.values()))]
    return {name: _speed(rounds, yardstick) for name, rounds in reports.items()}


def _speed(rounds: Sequence[SelfTestReport], yardstick: Sequence[float]) -> Speed:
    times_ms = [report.median_ms or 0.0 for report in rounds]
    ratios = [one / other for one, other in zip(times_ms, yardstick, strict=True)]
    model = rounds[0].model
    return Speed(
        median_ms=statistics.median(times_ms),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
        nodes=model.delegate.nodes if model else 0,
        delegated=model.delegate.delegated if model else 0,
    )


def _best(found: tuple[Detection, ...]) -> int | None:
    best = max(found, key=lambda one: one.score, default=None)
    return None if best is None else best.class_index
