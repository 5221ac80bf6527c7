"""Lets a Python script of this folder run in the checkout's own environment, with the checkout on its path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def enter() -> None:
    """Start the calling script anew in the environment, where there is one and it is not that already."""
    folder = Path(os.environ.get("EDGEAPP_VENV", ROOT / ".venv"))
    if (folder / "bin" / "python").exists() and Path(sys.prefix).resolve() != folder.resolve():
        os.execv(folder / "bin" / "python", [str(folder / "bin" / "python"), *sys.argv])
    sys.path.insert(0, str(ROOT))


def install_packages(*names: str) -> int:
    """Install the Debian packages that are missing, or name them; 0, or a status that says they are still missing."""
    command = ["bash", "-c", 'set -eu; . "$0"; need_packages "$@"', str(ROOT / "scripts" / "lib.sh"), *names]
    return subprocess.run(command, check=False).returncode


def need_packages(*names: str) -> None:
    """Install the Debian packages that are missing, or name them and end the calling script."""
    if (status := install_packages(*names)) != 0:
        sys.exit(status)
