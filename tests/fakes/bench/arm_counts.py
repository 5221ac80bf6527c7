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
from tests.fakes.bench import arm_root
from tests.fakes.bench.arm_guest import FRAMES
from tests.fakes.bench.ways import Frames, video_frames

_CHECKOUT = Path(__file__).parents[3]
_LIMIT_S = 900
_MARK = re.compile(r"(?m)^mark (\d+) (\d+)$")
_LAST_OLD_PLUGIN_QEMU = 8
_CALIBRATION_FRAMES = 8


@dataclass(frozen=True, slots=True)
class Cpu:
    """A board's processor as /proc/cpuinfo tells it; the runtime reads it there."""

    board: str
    part: str
    variant: str
    revision: int
    features: str


CPUS = {
    "cortex-a53": Cpu("Raspberry Pi 3 Model B Plus Rev 1.3", "0xd03", "0x0", 4, "fp asimd evtstrm crc32 cpuid"),
    "cortex-a72": Cpu("Raspberry Pi 4 Model B Rev 1.4", "0xd08", "0x0", 3, "fp asimd evtstrm crc32 cpuid"),
    "cortex-a76": Cpu(
        "Raspberry Pi 5 Model B Rev 1.0",
        "0xd0b",
        "0x4",
        1,
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    ),
}
"""Pi 3, 4 and 5, by the name that QEMU knows."""


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
        root = self._root_of(cpu)
        python = arm_root.python_of(root)
        libraries = (root / folder / "aarch64-linux-gnu" for folder in ("usr/lib", "lib"))
        guest = {
            "PYTHONHOME": root / "usr",
            "PYTHONPATH": f"{self._prepared / 'site'}:{_CHECKOUT}",
            "PYTHONDONTWRITEBYTECODE": 1,
            "PYTHONHASHSEED": 0,
            "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        }
        command = ["qemu-aarch64", "-plugin", str(self._plugin), "-cpu", cpu, "-L", str(root)]
        command += [word for name, value in guest.items() for word in ("-E", f"{name}={value}")]
        command += [str(python), "-m", "tests.fakes.bench.arm_guest", str(model_dir), str(frames_path)]
        done = _run(command)
        marks = {int(mark): int(count) for mark, count in _MARK.findall(done.stderr)}
        names = json.loads(done.stdout.splitlines()[-1])
        totals = {name: marks[2 * index + 1] - marks[2 * index] for index, name in enumerate(names)}
        nothing = totals.pop("nothing")
        counts = {name: (total - nothing) / FRAMES for name, total in totals.items()}
        return Counts(invoke=counts.pop("invoke"), ways=counts)

    def _root_of(self, cpu: str) -> Path:
        """A root with this processor's files: QEMU looks for every absolute path in it first."""
        root, board = self._scratch / cpu, CPUS[cpu]
        if root.exists():
            return root
        system = root / "sys" / "devices" / "system" / "cpu"
        for folder in (root / "proc" / "device-tree", system):
            folder.mkdir(parents=True)
        for entry in (self._prepared / "root").iterdir():
            (root / entry.name).symlink_to(entry)
        (root / "proc" / "cpuinfo").write_text(_cpuinfo(board))
        (root / "proc" / "device-tree" / "model").write_text(f"{board.board}\0")
        for name in ("possible", "present"):
            (system / name).write_text("0-3\n")
        return root


def _cpuinfo(cpu: Cpu) -> str:
    cores = [
        f"processor\t: {index}\nBogoMIPS\t: 108.00\nFeatures\t: {cpu.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {cpu.variant}\nCPU part\t: {cpu.part}\nCPU revision\t: {cpu.revision}\n\n"
        for index in range(4)
    ]
    return "".join(cores) + f"Model\t\t: {cpu.board}\n"


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
