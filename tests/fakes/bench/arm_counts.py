"""Instructions of a frame's ways on a Raspberry Pi's processors: the real aarch64 wheels under qemu-user.

Counts repeat to a few in a hundred thousand whatever else the machine does. They are no times: they know no cache
and no memory. What they show is how much work is around an invoke, and which of the kernels a processor is given:
the runtime chooses by what the processor can do, so each is emulated with its own features.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeapp.errors import FetchError
from tests.fakes.bench import arm_board
from tests.fakes.bench.arm_guest import FRAMES
from tests.fakes.bench.ways import Frames, video_frames

_CHECKOUT = Path(__file__).parents[3]
_LIMIT_S = 900
_MARK = re.compile(r"(?m)^mark (\d+) (\d+)$")
_LAST_OLD_PLUGIN_QEMU = 8
_CALIBRATION_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """Instructions of one frame. `ways` are by camera format, and by format and "floor"."""

    invoke: float
    ways: Mapping[str, float]


class Emulator:
    """qemu-user with the counting plugin, on one prepared folder."""

    def __init__(self, prepared: Path, scratch: Path) -> None:
        """`scratch` is a folder for what differs between processors.

        Raises:
            FetchError: QEMU or the compiler is missing, or the plugin cannot be compiled.
        """
        self._prepared, self._scratch = prepared, scratch
        self._plugin = scratch / "count_instructions.so"
        version = re.search(r"version (\d+)", _run(["qemu-aarch64", "--version"]).stdout)
        is_old = version is not None and int(version[1]) <= _LAST_OLD_PLUGIN_QEMU
        source = Path(__file__).with_name("count_instructions.c")
        options = ["-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={1 if is_old else 2}", "-o", str(self._plugin)]
        _run(["gcc", *options, str(source)])

    def count(self, cpu: str, model_dir: Path, frames_path: Path) -> Counts:
        """Count every way of a frame with one model on one processor.

        Raises:
            FetchError: the guest fails.
        """
        command = arm_board.python_command(cpu, self._prepared, self._scratch, "-plugin", str(self._plugin))
        command += ["-m", "tests.fakes.bench.arm_guest", str(model_dir), str(frames_path)]
        done = _run(command)
        marks = {int(mark): int(count) for mark, count in _MARK.findall(done.stderr)}
        names = json.loads(done.stdout.splitlines()[-1])
        totals = {name: marks[2 * index + 1] - marks[2 * index] for index, name in enumerate(names)}
        nothing = totals.pop("nothing")
        counts = {name: (total - nothing) / FRAMES for name, total in totals.items()}
        return Counts(invoke=counts.pop("invoke"), ways=counts)


def make_models(folder: Path, video: Path) -> dict[str, Path]:
    """Model folders of a small classifier and a usual one, by name; calibrated on frames of the video."""
    from tests.fakes.bench import mobilenet  # the guest has no quantizer

    files = {
        "MobileNetV1 0.25": ("mobilenet-v1-025-128", 128, mobilenet.mobilenet_v1(0.25, 128)),
        "MobileNetV2 1.0": ("mobilenet-v2-100-224", 224, mobilenet.mobilenet_v2(1.0, 224)),
    }
    made = {}
    for name, (model_name, size_px, content) in files.items():
        made[name] = folder / model_name
        samples = video_frames(video, (size_px, size_px), _CALIBRATION_FRAMES)
        mobilenet.write_int8_folder(made[name], content, size_px, samples)
    return made


def save_frames(path: Path, frames: Frames) -> None:
    """Write the frames where the guest reads them."""
    jpegs = np.empty(len(frames.jpegs), object)
    jpegs[:] = frames.jpegs
    np.savez(path, pictures=np.array(frames.pictures), yuyvs=np.array(frames.yuyvs), jpegs=jpegs)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]}
    try:
        done = subprocess.run(
            command, cwd=_CHECKOUT, env=environment, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"{command[0]}: cannot be run: {error}") from error
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-400:]
        raise FetchError(f"{command[0]}: expected status 0, found {done.returncode}: {words}")
    return done
