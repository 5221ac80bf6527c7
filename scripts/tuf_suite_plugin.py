"""A pytest plugin that puts a client of ours in the place of python-tuf's, for scripts/tuf-suite.

`EDGEAPP_TUF_CLIENT` says which: `ours`, or a broken one, which the suite has to catch.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tuf.ngclient

from edgeapp.updates.metadata import DurableUpdater


class ForgetfulUpdater(DurableUpdater):
    """Forgets what it has seen, so old metadata is news to it."""

    def refresh(self) -> None:
        for role in ("timestamp", "snapshot", "targets"):
            with contextlib.suppress(FileNotFoundError):
                Path(self._dir, f"{role}.json").unlink()
        super().refresh()


class TimelessUpdater(DurableUpdater):
    """Lives in 1970, where nothing has expired."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._trusted_set.reference_time = datetime.fromtimestamp(0, UTC)


CLIENTS = {"ours": DurableUpdater, "forgetful": ForgetfulUpdater, "timeless": TimelessUpdater}
tuf.ngclient.Updater = CLIENTS[os.environ["EDGEAPP_TUF_CLIENT"]]  # type: ignore[misc]
