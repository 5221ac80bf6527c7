"""The real vision, whose camera or model hangs, or eats memory, while a file says so: a broken driver or delegate.

python -m tests.fakes.field.hanging_vision --listen PATH
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from edgeapp.vision import main as vision
from edgeapp.vision.model import Model
from edgeapp.vision.replay import VideoSource
from edgeapp.vision.v4l2 import V4l2Source

HANGS = {"read": Path("/srv/hang-read"), "lock": Path("/srv/hang-lock")}
EAT = Path("/srv/eat")
_predict = Model.predict
eaten: list[bytes] = []


def _hanging(grab: Callable[[Any], bool]) -> Callable[[Any], bool]:
    def hanging_grab(source: Any) -> bool:
        while HANGS["read"].exists():
            time.sleep(0.1)  # as a read in a driver: this thread stands still, the others run
        return grab(source)

    return hanging_grab


def _hanging_predict(model: Model, *arguments: Any) -> Any:
    if HANGS["lock"].exists():
        ctypes.PyDLL(None).pause()  # a library that keeps the interpreter lock: no thread runs any more
    if EAT.exists():
        eaten.append(b"x" * (64 << 20))
    return _predict(model, *arguments)


if __name__ == "__main__":
    with (
        mock.patch.object(VideoSource, "grab", _hanging(VideoSource.grab)),
        mock.patch.object(V4l2Source, "grab", _hanging(V4l2Source.grab)),
        mock.patch.object(Model, "predict", _hanging_predict),
    ):
        sys.exit(vision.main())
