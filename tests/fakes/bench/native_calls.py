"""The native calls that a decoded frame needs, whoever makes them: the least of a frame path and of a daemon.

Imports nothing of edgeapp's, so that the least program is no larger than it must be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np


def native_calls(interpreter: Any) -> Callable[[Any], None]:
    """Resize, colour order, int8, set_tensor, invoke, get_tensor, of a BGR picture; no check, no look at the output.

    `interpreter` has its tensors allocated and takes an int8 picture.
    """
    (source,) = interpreter.get_input_details()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    _, height, width, _ = (int(side) for side in source["shape"])
    small, tensor = np.empty((height, width, 3), np.uint8), np.empty((1, height, width, 3), np.uint8)

    def call(picture: Any) -> None:
        cv2.resize(picture, (width, height), dst=small, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(small, cv2.COLOR_BGR2RGB, dst=tensor[0])
        np.bitwise_xor(tensor, 0x80, out=tensor)
        interpreter.set_tensor(source["index"], tensor.view(np.int8))
        interpreter.invoke()
        for index in outputs:
            interpreter.get_tensor(index)

    return call
