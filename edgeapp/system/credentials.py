"""Where a secret is read: the copy that systemd made for this service, or the file itself.

The configuration names one place, /etc/edgeapp/credentials/NAME, a folder of root's. The unit has systemd copy what is
in it (LoadCredential=edgeapp:FOLDER), readable for this service alone; a command that root runs reads the file itself.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path("/etc/edgeapp/credentials")
_ID = "edgeapp"  # of the unit's LoadCredential=; systemd.exec(5): files of a folder are named ID_NAME


def find(path: str) -> Path:
    """The file to read for the secret that the configuration keeps at `path`."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    copy = Path(folder, f"{_ID}_{Path(path).name}")
    is_handed_over = bool(folder) and Path(path).parent == FOLDER and copy.exists()
    return copy if is_handed_over else Path(path)
