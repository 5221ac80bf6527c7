"""The ways of a frame that scripts/bench compares: the bare invoke, our frame path, and the least anyone can do.

The same code measures processor time on this machine and, in `arm_guest.py`, instructions on an emulated one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.config import CameraConfig
from edgeapp.vision.formats import decode_mjpeg, decode_yuyv, jpeg_reduction
from edgeapp.vision.model import Model
from edgeapp.vision.picture import Framing
from tests.fakes.bench.native_calls import native_calls

Picture = npt.NDArray[np.uint8]
Way = Callable[[], object]
SIZES = ((640, 480), (1280, 720))
"""(width, height) of the cameras."""


@dataclass(frozen=True, slots=True)
class Case:
    """One way of a frame against the bare invoke loop. Each figure is a median over paired rounds."""

    throughput_ratio: float
    cpu_ratio: float
    p50_ratio: float
    p99_ratio: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one loop: per frame, wall and processor time in ms."""

    wall_ms: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Frames:
    """The same pictures as a camera may send them. `size` is (width, height)."""

    size: tuple[int, int]
    pictures: list[Picture]
    yuyvs: list[Picture]
    jpegs: list[Picture]


def measure(work: Way, frames: int) -> Sample:
    """Do `work` so many times."""
    times = []
    cpu_began, began = time.process_time_ns(), time.perf_counter_ns()
    for _ in range(frames):
        one_began = time.perf_counter_ns()
        work()
        times.append((time.perf_counter_ns() - one_began) / 1e6)
    wall_ms = (time.perf_counter_ns() - began) / 1e6 / frames
    cpu_ms = (time.process_time_ns() - cpu_began) / 1e6 / frames
    times.sort()
    return Sample(wall_ms, cpu_ms, times[frames // 2], times[min(frames - 1, frames * 99 // 100)])


def between(before: Sample, after: Sample) -> Sample:
    """The bare loop as it was halfway: a machine whose speed drifts is compared with itself at the same time."""
    return Sample(*((getattr(before, name) + getattr(after, name)) / 2 for name in Sample.__slots__))


def as_case(runs: list[tuple[Sample, Sample]]) -> Case:
    """The medians over rounds of (a way, the bare loop)."""

    def median(ratio: Callable[[Sample, Sample], float]) -> float:
        return round(statistics.median(ratio(way, bare) for way, bare in runs), 3)

    return Case(
        throughput_ratio=median(lambda way, bare: bare.wall_ms / way.wall_ms),
        cpu_ratio=median(lambda way, bare: way.cpu_ms / bare.cpu_ms),
        p50_ratio=median(lambda way, bare: way.p50_ms / bare.p50_ms),
        p99_ratio=median(lambda way, bare: way.p99_ms / bare.p50_ms),
    )


def video_frames(video: Path, size: tuple[int, int], count: int) -> list[Picture]:
    """Pictures of a video, evenly spread, in a camera's size."""
    capture = cv2.VideoCapture(str(video))
    total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    frames = [capture.read()[1] for _ in range(total)]
    capture.release()
    return [np.asarray(cv2.resize(frames[index * total // count], size), dtype=np.uint8) for index in range(count)]


def frames_of(pictures: list[Picture]) -> Frames:
    """The pictures in each of a camera's formats."""
    height, width = pictures[0].shape[:2]
    return Frames(
        size=(width, height),
        pictures=pictures,
        yuyvs=[as_yuyv(picture) for picture in pictures],
        jpegs=[np.asarray(cv2.imencode(".jpg", picture)[1], dtype=np.uint8) for picture in pictures],
    )


def as_yuyv(picture: Picture) -> Picture:
    """The bytes of a YUYV frame: uint8 [height * width * 2]."""
    yuv = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV)
    packed = np.empty((*picture.shape[:2], 2), np.uint8)
    packed[..., 0] = yuv[..., 0]
    packed[:, 0::2, 1], packed[:, 1::2, 1] = yuv[:, 0::2, 1], yuv[:, 0::2, 2]
    return packed.reshape(-1)


def bare_invoke(model: Model, picture: Picture) -> Way:
    """invoke() and nothing else, on a real frame's tensor."""
    model.run(model.preprocess(picture))
    invoke: Way = model._runtime._interpreter.invoke
    return invoke


def frame_paths(model: Model, frames: Frames) -> dict[str, Way]:
    """Our ways from a camera's bytes to detections, over and over on the same frames, by the camera's format."""
    least = (model.manifest.input.width, model.manifest.input.height)
    framing = Framing(CameraConfig(kind="video", source="-"))
    buffer = np.empty((frames.size[1], frames.size[0], 3), np.uint8)
    pictures, yuyvs, jpegs = cycle(frames.pictures), cycle(frames.yuyvs), cycle(frames.jpegs)
    return {
        "raw BGR": lambda: model.predict(framing.apply(next(pictures))),
        "YUYV": lambda: model.predict(framing.apply(decode_yuyv(next(yuyvs), buffer))),
        "MJPEG": lambda: model.predict(framing.apply(decode_mjpeg(next(jpegs), least))),
    }


def floors(model: Model, frames: Frames) -> dict[str, Way]:
    """Decoding and the native calls, in a bare loop: the least to be reached."""
    size = (model.manifest.input.width, model.manifest.input.height)
    picture = np.empty((frames.size[1], frames.size[0], 3), np.uint8)
    scales = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    scale = scales[jpeg_reduction(frames.size, size)]
    shape = (frames.size[1], frames.size[0], 2)
    infer = native_calls(model._runtime._interpreter)
    pictures, yuyvs, jpegs = cycle(frames.pictures), cycle(frames.yuyvs), cycle(frames.jpegs)
    return {
        "raw BGR": lambda: infer(next(pictures)),
        "YUYV": lambda: infer(cv2.cvtColor(next(yuyvs).reshape(shape), cv2.COLOR_YUV2BGR_YUYV, dst=picture)),
        "MJPEG": lambda: infer(np.asarray(cv2.imdecode(next(jpegs), scale))),
    }
