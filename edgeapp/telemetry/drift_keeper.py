"""Keeps the drift watch over restarts: a small file beside the spool, of noised numbers only.

Owns `drift.json` and the newest judgement. Leaves the judging to `drift.py`. A file that cannot be read or written
costs at most the site's baseline, which then begins anew: no release waits for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.system import files
from edgeapp.telemetry.drift import DriftReport, DriftWatch
from edgeapp.telemetry.release import Release
from edgeapp.types import CONFIDENCE, ModelReport

_LOGGER = logging.getLogger(__name__)
DRIFT_NAME = "drift.json"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a release says of drift, and the watch for the next day, to be kept once the release is durable."""

    watch: DriftWatch
    report: DriftReport


class DriftKeeper:
    """The drift watch of one device. One thread owns it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._watch = self._load()
        self.report: DriftReport | None = None  # of the last day that was released

    def judge(self, release: Release, model: ModelReport) -> Judgement | None:
        """The judgement of a release with a histogram of confidences; None where it has none. Changes nothing."""
        for family in release.families:
            if family.plan.family == CONFIDENCE:
                counts = [count or 0 for count in family.counts]  # what is suppressed is as good as 0
                shipped = model.expected_confidence
                return Judgement(*self._watch.step(counts, family.plan.scale, model=model.sha256, shipped=shipped))
        return None

    def keep(self, judgement: Judgement) -> None:
        """The release is durable: the next day is judged by the watch that saw this one."""
        self._watch, self.report = judgement.watch, judgement.report
        try:
            files.write_durably(self._path, self._watch.as_json().encode())
        except OSError as error:
            _LOGGER.warning("%s: the drift watch cannot be kept: %s", self._path, error)

    def _load(self) -> DriftWatch:
        try:
            return read_json(DriftWatch, self._path.read_bytes(), str(self._path))
        except FileNotFoundError:
            return DriftWatch()
        except (OSError, EdgeAppError) as error:
            _LOGGER.warning("%s: the drift watch begins anew: %s", self._path, error)
            return DriftWatch()
