"""A pytest plugin that puts a client of ours in the place of python-tuf's, for scripts/tuf-suite.

`EDGEAPP_TUF_CLIENT` says which: `ours`, or a broken one, which the suite has to catch.
"""

from __future__ import annotations

import os

import tuf.ngclient
from broken_tuf_clients import ForgetfulUpdater, TimelessUpdater

from edgeapp.updates.metadata import DurableUpdater

CLIENTS = {"ours": DurableUpdater, "forgetful": ForgetfulUpdater, "timeless": TimelessUpdater}
tuf.ngclient.Updater = CLIENTS[os.environ["EDGEAPP_TUF_CLIENT"]]  # type: ignore[misc]
