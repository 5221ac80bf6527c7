"""Keeps what was measured of the models on this board, durably, in the state folder.

Guarantee: what cannot be read, or was measured of something else, counts as not measured. Never loads a runtime.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeapp.config import Config
from edgeapp.errors import EdgeAppError, ManifestError
from edgeapp.reader import read_json
from edgeapp.system import files
from edgeapp.system.board import read_board
from edgeapp.vision.model_folder import read_manifest
from edgeapp.vision.runtimes import installed_runtime
from edgeapp.vision.tuning import Measured, Tuning, TuningKey, choose

_LOGGER = logging.getLogger(__name__)
_NAME = "tuning.json"
_MOST_KEPT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kept:
    """The file: the newest measurement first, at most one of a key."""

    tunings: tuple[Tuning, ...] = ()


def find_key(model_dir: Path) -> TuningKey:
    """What a measurement of this model here would hold for.

    Raises:
        ManifestError: the folder or its model.json cannot be used.
    """
    manifest = read_manifest(model_dir)
    board = read_board(machine=os.uname().machine)
    return TuningKey(sha256=manifest.model.sha256, runtime=installed_runtime(), board=board.name, cores=board.cores)


def find_best(config: Config) -> Measured | None:
    """What was measured best for the configured model here; None where nothing was that fits."""
    try:
        key = find_key(Path(config.inference.model_dir))
    except ManifestError:
        return None  # whoever loads the model says why
    tuning = TuningStore(Path(config.paths.state_dir)).find(key)
    return choose(config.inference, tuning.measured) if tuning else None


class TuningStore:
    """One file in the state folder. Written by `edgeapp tune`, read by the daemon when vision starts."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / _NAME

    def find(self, key: TuningKey) -> Tuning | None:
        """What was measured for exactly this key."""
        return next((tuning for tuning in self._read().tunings if tuning.key == key), None)

    def keep(self, tuning: Tuning) -> None:
        """Keep a measurement in place of an earlier one of its key; the oldest beyond eight go.

        Raises:
            OSError: the file cannot be written.
        """
        others = [one for one in self._read().tunings if one.key != tuning.key]
        kept = _Kept(tunings=(tuning, *others)[:_MOST_KEPT])
        files.write_durably(self.path, json.dumps(asdict(kept)).encode())

    def _read(self) -> _Kept:
        try:
            return read_json(_Kept, self.path.read_bytes(), str(self.path))
        except FileNotFoundError:
            return _Kept()
        except (OSError, EdgeAppError) as error:
            _LOGGER.warning("what was measured cannot be read, so nothing is: %s", error)
            return _Kept()
