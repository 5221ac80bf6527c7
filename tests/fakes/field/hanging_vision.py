"""The real vision, whose camera or model hangs, or eats memory, while a file says so: a broken driver or delegate.

python -m tests.fakes.field.hanging_vision --listen PATH
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any
from unittest import mock

from edgeapp.vision import main as vision
from edgeapp.vision.model import Model
from edgeapp.vision.replay import VideoSource

HANGS = {"read": Path("/srv/hang-read"), "lock": Path("/srv/hang-lock")}
EAT = Path("/srv/eat")
_grab, _predict = VideoSource.grab, Model.predict
eaten: list[bytes] = []


def _hanging_grab(source: VideoSource) -> bool:
    while HANGS["read"].exists():
        time.sleep(0.1)  # as a read in a driver: this thread stands still, the others run
    return _grab(source)


def _hanging_predict(model: Model, *arguments: Any) -> Any:
    if HANGS["lock"].exists():
        ctypes.PyDLL(None).pause()  # a library that keeps the interpreter lock: no thread runs any more
    if EAT.exists():
        eaten.append(b"x" * (64 << 20))
    return _predict(model, *arguments)


if __name__ == "__main__":
    with (
        mock.patch.object(VideoSource, "grab", _hanging_grab),
        mock.patch.object(Model, "predict", _hanging_predict),
    ):
        vision.main()
