"""What runs on the emulated processor: every way of a frame a few times, between two marks of the counting plugin.

    python -m tests.fakes.bench.arm_guest MODEL_DIR FRAMES.npz

Prints the names of the stretches, in order, as JSON; the plugin writes the counts to stderr.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from edgeapp.vision.model import Model
from tests.fakes.bench.ways import Frames, Way, bare_invoke, floors, frame_paths

FRAMES = 2
"""Counted for each way."""
_GETPRIORITY, _MARK = 141, 7777  # as in count_instructions.c


def main() -> None:
    model_dir, frames_path = (Path(word) for word in sys.argv[1:])
    cv2.setNumThreads(1)
    saved = np.load(frames_path, allow_pickle=True)  # JPEGs differ in length
    pictures, yuyvs, jpegs = (list(saved[name]) for name in ("pictures", "yuyvs", "jpegs"))
    frames = Frames(size=(pictures[0].shape[1], pictures[0].shape[0]), pictures=pictures, yuyvs=yuyvs, jpegs=jpegs)
    model = Model.load(model_dir, threads=1)
    ways: dict[str, Way] = {"nothing": lambda: None, "invoke": bare_invoke(model, pictures[0])}
    ways |= frame_paths(model, frames)
    ways |= {f"{name}, floor": floor for name, floor in floors(model, frames).items()}
    syscall = ctypes.CDLL(None).syscall
    for index, way in enumerate(ways.values()):
        for _ in frames.pictures:
            way()  # the first time a buffer is touched costs more
        syscall(_GETPRIORITY, _MARK, 2 * index)
        for _ in range(FRAMES):
            way()
        syscall(_GETPRIORITY, _MARK, 2 * index + 1)
    print(json.dumps(list(ways)))


if __name__ == "__main__":
    main()
