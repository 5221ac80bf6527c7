"""TUF clients with a classic mistake, which a suite has to catch."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
