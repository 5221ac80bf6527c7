"""The real daemon with a clock that is known to be right, as `interfaces.py` permits.

python -m tests.fakes.synchronised_daemon run --config FILE
"""

from __future__ import annotations

import sys
from unittest import mock

from edgeapp import cli, daemon
from edgeapp.system.clock import SystemClock


class SynchronisedClock(SystemClock):
    def is_synchronised(self) -> bool:
        return True


if __name__ == "__main__":
    with mock.patch.object(daemon, "SystemClock", SynchronisedClock):
        sys.exit(cli.main())
