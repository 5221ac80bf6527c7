"""The profile's process for native code: it runs the model, and tells the times of every frame until it is ended.

    python -m edgeapp.measure.profile_child run|accuracy FOLDER --parent PID --out-fd FD ...

`run` writes one line of JSON, a `Started`, and then of each frame FRAME_FIELDS little-endian doubles: seconds since the
first frame, and ms of decode, preprocess, invoke and postprocess. `accuracy` writes one JSON object, an `Accuracy`.
What goes wrong is the last line on stderr, with a status that is not 0. It sees pixels and writes none.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp.errors import EdgeAppError, LabelsError, ProfileError
from edgeapp.measure.figures import Accuracy, Started
from edgeapp.system import processes
from edgeapp.vision.model_folder import open_model_folder

if TYPE_CHECKING:
    from edgeapp.vision.formats import Picture
    from edgeapp.vision.model import Model

_TELL_S = 0.25
_LEAST_SCORE = 0.01  # average precision wants the doubtful detections too


def start(folder: Path, delegate: Any, threads: int) -> tuple[Model, Started]:
    """The loaded model, and how long it took: first with its file out of the page cache, then with it there.

    Raises:
        EdgeAppError: the model cannot be used.
    """
    _, path = open_model_folder(folder)
    began = time.perf_counter()
    from edgeapp.vision.model import Model
    from edgeapp.vision.sources import quiet_opencv
    from edgeapp.vision.tflite import import_runtime

    import_runtime()
    import_ms = (time.perf_counter() - began) * 1e3
    quiet_opencv()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.perf_counter()
    model = Model.load(folder, delegate=delegate, threads=threads)
    cold_load_ms = (time.perf_counter() - began) * 1e3
    first = sum(model.predict_in_stages(model.grey_picture())[1])
    model.close()
    began = time.perf_counter()
    model = Model.load(folder, delegate=delegate, threads=threads)
    warm_load_ms = (time.perf_counter() - began) * 1e3
    model.warm_up()
    return model, Started(
        model=model.report,
        import_ms=import_ms,
        cold_load_ms=cold_load_ms,
        first_ms=first,
        warm_load_ms=warm_load_ms,
    )


def run(model: Model, frames: Path | None, out_fd: int) -> None:
    """Predict frame after frame without a pause, and tell the times four times a second.

    Raises:
        EdgeAppError: no more frames can be had, or the model failed.
    """
    timed = _timed_pictures(model, frames)
    began_s = told_s = time.monotonic()
    rows: list[float] = []
    for picture, decode_ms in timed:
        _, stages_ms = model.predict_in_stages(picture)
        now_s = time.monotonic()
        rows += (now_s - began_s, decode_ms, *stages_ms)
        if now_s - told_s >= _TELL_S:
            _write(out_fd, struct.pack(f"<{len(rows)}d", *rows))
            rows, told_s = [], now_s


def measure_accuracy(folder: Path, frames: Path, labels: Path, delegate: Any, threads: int) -> Accuracy:
    """The model on every labelled frame.

    Raises:
        EdgeAppError: the model, the labels or the frames cannot be used.
    """
    from edgeapp.measure.accuracy import Judged, classification_figures, detection_figures
    from edgeapp.measure.frames import open_labels, pictures
    from edgeapp.vision.model import Model

    model = Model.load(folder, delegate=delegate, threads=threads, min_score=_LEAST_SCORE)
    wanted = {each.key: each.labels for each in open_labels(labels, model.manifest.classes)}
    judged = [
        Judged(wanted.pop(key), model.predict(picture)[0])
        for key, picture in pictures(frames, _size_of(model))
        if key in wanted
    ]
    if wanted:
        raise LabelsError(f"{labels}: expected its frames in {frames}, found no {sorted(wanted, key=str)[0]!r}")
    is_detector = model.manifest.task == "detection"
    figures = (
        detection_figures(judged, min_score=model.manifest.defaults.min_score)
        if is_detector
        else classification_figures(judged)
    )
    return Accuracy(figures=figures, labelled=len(judged))


def _timed_pictures(model: Model, frames: Path | None) -> Iterator[tuple[Picture, float]]:
    """Pictures for ever, each with the ms that it took to read and decode it; noise where there are no frames."""
    import numpy as np

    if frames is None:
        grey = model.grey_picture()
        yield from itertools.repeat((np.random.default_rng(0).integers(0, 256, grey.shape, np.uint8), 0.0))
        return
    from edgeapp.measure.frames import open_frames

    source = open_frames(frames, _size_of(model), loop=True)
    picture = None
    while True:
        began_ns = time.perf_counter_ns()
        if not source.grab():
            raise ProfileError(f"{frames}: gave frames, and then no more")
        picture = source.retrieve(picture)
        yield picture, (time.perf_counter_ns() - began_ns) / 1e6


def _size_of(model: Model) -> tuple[int, int]:
    return model.manifest.input.width, model.manifest.input.height


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _tell(descriptor: int, answer: Started | Accuracy) -> None:
    _write(descriptor, json.dumps(dataclasses.asdict(answer)).encode() + b"\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edgeapp-profile-child", description="The profile's process for native code.")
    parser.add_argument("question", choices=("run", "accuracy"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parent", type=int, required=True, help="end with this process")
    parser.add_argument("--out-fd", type=int, required=True)
    parser.add_argument("--delegate", choices=("xnnpack", "none"), default="xnnpack")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--frames", type=Path)
    parser.add_argument("--labels", type=Path)
    chosen = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not processes.die_with_parent(chosen.parent):
        return 0
    try:
        if chosen.question == "run":
            model, started = start(chosen.folder, chosen.delegate, chosen.threads)
            _tell(chosen.out_fd, started)
            run(model, chosen.frames, chosen.out_fd)
        else:
            found = measure_accuracy(chosen.folder, chosen.frames, chosen.labels, chosen.delegate, chosen.threads)
            _tell(chosen.out_fd, found)
    except EdgeAppError as error:
        print(error, file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # native threads are not waited for


if __name__ == "__main__":
    main()
