"""Keeps on disk in which hours this device could have escalated, so that no start gives a spent budget back.

Owns one small file, written when an hour is opened, before anything may be asked in it, and whether or not anything is:
it says nothing of who passed. A file that cannot be read is taken for this month's whole budget.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from edgeapp.errors import EdgeAppError
from edgeapp.escalation.policy import Opened, opened_ahead, windows_at
from edgeapp.reader import read_json
from edgeapp.system.files import write_durably

_LOGGER = logging.getLogger(__name__)
OPENED_NAME = "escalation.json"
_A_MONTH = 744


class OpenedHours:
    """The opened hours of one device."""

    def __init__(self, path: Path, now_s: float) -> None:
        self._path = path
        try:
            self.kept = read_json(Opened, path.read_bytes(), str(path))
        except FileNotFoundError:
            self.kept = Opened()
        except (OSError, EdgeAppError) as error:
            _LOGGER.warning("%s: unreadable, so nothing is escalated for the rest of the month: %s", path, error)
            now = windows_at(now_s)
            spent = {"hours_today": 24, "hours_this_month": _A_MONTH}
            self.kept = Opened(hour=now.hour, day=now.day, month=now.month, **spent)

    def open(self, now_s: float) -> int:
        """Open the hour of `now_s`, and the next one ahead of its time, durably; the number of the last that is open.

        Raises:
            OSError: it cannot be written; then the hour is not open.
        """
        after = opened_ahead(self.kept, now_s)
        if after != self.kept:
            write_durably(self._path, json.dumps(asdict(after)).encode())
            self.kept = after
        return self.kept.hour
