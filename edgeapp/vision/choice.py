"""What control tells vision to run the model on: as configured, as measured, or XNNPACK after a library's crash.

Owns the memory of what happened with the delegate library. A library that passed its trial may still bring vision down
in use; then XNNPACK takes its place until the daemon or the configuration is renewed. Except where the model cannot do
without the library, as one compiled for the Edge TPU: then it is tried again.
"""

from __future__ import annotations

import logging

from edgeapp.config import Config, DelegateLibrary, InferenceConfig
from edgeapp.errors import VisionLostError
from edgeapp.types import ModelReport
from edgeapp.vision.tuning import is_open, settle
from edgeapp.vision.tuning_store import find_best

_LOGGER = logging.getLogger(__name__)
_BLAMED = ("died", "silent", "stalled")


class InferenceChoice:
    """Belongs to one thread of control, for the life of one configuration."""

    def __init__(self) -> None:
        self._fault = self._configured = ""
        self._library = ""  # the one that vision runs, or is about to

    def for_vision(self, config: Config) -> tuple[InferenceConfig, str]:
        """Delegate and threads settled, and why the delegate library is not to be touched; empty: it is."""
        wanted = config.inference
        if isinstance(wanted.delegate, DelegateLibrary):
            self._configured = wanted.delegate.library
            self._library = "" if self._fault else self._configured
            return settle(wanted, None), self._fault
        if not is_open(wanted):
            return wanted, ""
        best = find_best(config)
        settled = settle(wanted, best)
        how = "measured best here" if best else "nothing is measured for this model here, see edgeapp tune"
        _LOGGER.info("delegate %s, threads %s: %s", settled.delegate, settled.threads, how)
        return settled, ""

    def model_runs(self, model: ModelReport) -> None:
        """Vision has said what it runs."""
        self._library = "" if model.delegate.fell_back else self._configured

    def vision_was_lost(self, lost: VisionLostError) -> None:
        """Blame the library, where one was in use and nothing else is to blame."""
        if lost.cause == "refused":
            self._fault = ""
        elif self._library and lost.cause in _BLAMED and not lost.is_camera:
            self._fault = f"{self._library}: with it, {lost}"
