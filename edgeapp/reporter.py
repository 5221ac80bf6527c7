"""aggregate → message → spool, and release → message → spool: how what the pipeline has summed up comes to be kept.

Owns the reports that wait while the disk is full, and the judgement of drift, which is made of releases. Belongs to the
pipeline's thread. Guarantees that a report is kept until the spool has taken it, up to `_MAX_PENDING` of them, and that
counts are noised before they wait.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgeapp import __version__
from edgeapp.config import Config
from edgeapp.errors import SpoolError
from edgeapp.interfaces import Clock
from edgeapp.telemetry.counts_message import counts_message
from edgeapp.telemetry.drift import DriftReport
from edgeapp.telemetry.drift_keeper import DRIFT_NAME, DriftKeeper
from edgeapp.telemetry.message import SystemState, telemetry_message
from edgeapp.telemetry.release import Release
from edgeapp.telemetry.spool import Spool
from edgeapp.telemetry.window import Aggregate
from edgeapp.types import ModelReport

_LOGGER = logging.getLogger(__name__)
_RETRY_SPOOL_S = 10.0
_MAX_PENDING = 240  # about a day's reports


class Reporter:
    """Makes messages and has the spool keep them."""

    def __init__(self, config: Config, *, boot: str, clock: Clock, spool: Spool, on_report: Callable[[], None]) -> None:
        """`on_report` is called when a report is in the spool."""
        self._device, self._privacy, self._boot = config.device.id, config.privacy, boot
        self._clock, self._spool, self._on_report = clock, spool, on_report
        self._drift = DriftKeeper(Path(config.paths.state_dir) / DRIFT_NAME)
        self._pending: deque[Callable[[], object]] = deque(maxlen=_MAX_PENDING)  # what puts a report into the spool
        self._keep_at_ns = 0

    @property
    def drift(self) -> DriftReport | None:
        """The last judgement."""
        return self._drift.report

    def report(self, aggregate: Aggregate, model: ModelReport | None, system: SystemState) -> None:
        """aggregate → message, with the device as it is now."""

        def make(seq: int, lost: int) -> bytes:
            return telemetry_message(
                aggregate,
                device=self._device,
                boot=self._boot,
                seq=seq,
                lost=lost,
                app_version=__version__,
                model=model,
                system=system,
            )

        self._pending.append(partial(self._spool.put, make))

    def report_counts(self, release: Release, model: ModelReport) -> None:
        """release → message."""
        self._pending.append(partial(self._keep_counts, release, model))

    def keep(self, *, is_last_chance: bool = False) -> SpoolError | None:
        """message → spool, for all that wait; what the spool says where it cannot take them. Then they are tried again
        later, but for the last chance, which does not wait.
        """
        now_ns = self._clock.monotonic_ns()
        while self._pending and (is_last_chance or now_ns >= self._keep_at_ns):
            try:
                self._pending[0]()
            except SpoolError as error:
                self._keep_at_ns = now_ns + round(_RETRY_SPOOL_S * 1e9)
                _LOGGER.error(
                    "%s; tried again in %.0f s, %d reports wait in memory", error, _RETRY_SPOOL_S, len(self._pending)
                )
                return error
            self._pending.popleft()
            self._on_report()
        return None

    def _keep_counts(self, release: Release, model: ModelReport) -> None:
        """The spool refuses it if its window was released before."""
        judgement = self._drift.judge(release, model)

        def make(seq: int, lost: int) -> bytes:
            return counts_message(
                release,
                self._privacy,
                device=self._device,
                boot=self._boot,
                seq=seq,
                lost=lost,
                app_version=__version__,
                model=model,
                drift=None if judgement is None else judgement.report,
            )

        seq = self._spool.put_release(make, "counts", release.level.name, release.index)
        if seq is not None and judgement is not None:
            self._drift.keep(judgement)
