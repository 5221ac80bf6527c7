"""What vision loads at its start takes no processor from control beside it."""

from __future__ import annotations

import subprocess
import sys

_LOADED = """
import os, sys
from edgeapp.vision import main
assert "numpy" not in sys.modules, "NumPy was loaded before it was told of its threads"
main._import_ahead()
assert {"numpy", "cv2"} <= set(sys.modules)
print(os.listdir("/proc/self/task") == [str(os.getpid())])
"""


def test_no_library_starts_a_thread() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
