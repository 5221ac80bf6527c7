"""Lets a Python script of this folder run in the checkout's own environment, with the checkout on its path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def enter() -> None:
    """Start the calling script anew in the environment, where there is one and it is not that already."""
    folder = Path(os.environ.get("EDGEAPP_VENV", ROOT / ".venv"))
    if (folder / "bin" / "python").exists() and Path(sys.prefix).resolve() != folder.resolve():
        os.execv(folder / "bin" / "python", [str(folder / "bin" / "python"), *sys.argv])
    sys.path.insert(0, str(ROOT))
