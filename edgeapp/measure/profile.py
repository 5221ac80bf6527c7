"""Profiles a model folder on this board: each way to run it, then without a pause until it has settled, then accuracy.

Owns the order and the time. Native code runs in children alone: the self-tests of `tune.py`, and `profile_child.py`.
The board's sensors are read here, beside the child. Guarantees: it ends, whatever a child does, and no child stays.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from edgeapp import __version__
from edgeapp.config import InferenceConfig
from edgeapp.errors import ProfileError
from edgeapp.interfaces import Sensors
from edgeapp.measure.figures import FRAME_FIELDS, Accuracy, Figure, Profile, Settling, Started, Subject
from edgeapp.measure.steady import Answer, SteadyLimits, SteadyState
from edgeapp.measure.summary import BoardPoint, Recording
from edgeapp.measure.tune import LIMITS, ROUNDS, tune
from edgeapp.reader import read_json
from edgeapp.system import processes
from edgeapp.system.board import clock_mhz, read_board
from edgeapp.types import Sample, ThrottleFlags
from edgeapp.vision.model_folder import read_manifest
from edgeapp.vision.selftest import ONE_THREAD, SelfTestLimits
from edgeapp.vision.tuning import Measured, choose, settle, thread_counts

Tell = Callable[[str, float, float | None], None]
"""What is done, the share of it that is done, and the seconds that it lasts at most, where they are known."""

_FRAME_BYTES = FRAME_FIELDS * struct.calcsize("<d")
_SILENCE_S = 60.0
_ACCURACY_S = 3600.0
_STARTS = 30  # the start of a run is this part of the settling window
_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to measure, and for how long at most. `threads`: None for what the table of ways shows best.

    `tuning_s`: after so long, each way to run it is tried no second time.
    """

    seconds: float = 1800.0
    frames: Path | None = None
    labels: Path | None = None
    threads: int | None = None
    steady: SteadyLimits = field(default_factory=SteadyLimits)
    tuning: SelfTestLimits = LIMITS
    tuning_s: float = 180.0


@dataclass(slots=True)
class _Run:
    """What comes of the sustained run."""

    started: Started
    rows: array[float] = field(default_factory=lambda: array("d"))
    board: list[BoardPoint] = field(default_factory=list)
    slow: list[bool] = field(default_factory=list)
    rss_mb: float = 0.0


def profile(
    folder: Path,
    plan: Plan,
    *,
    sensors: Sensors,
    tell: Tell = lambda *_: None,
    command: Sequence[str] = (sys.executable, "-B", "-m", "edgeapp.measure.profile_child"),
) -> Profile:
    """Measure the model of a folder. `command` starts the child in place of this interpreter.

    Raises:
        EdgeAppError: the model passes its self-test in no way, or frames or labels cannot be used.
    """
    manifest, board = read_manifest(folder), read_board()
    ways = _measure_ways(folder, plan, board.cores, tell)
    wanted = InferenceConfig(model_dir=str(folder), threads=plan.threads)
    way = settle(wanted, choose(wanted, ways))
    options = ["--delegate", str(way.delegate), "--threads", str(way.threads)]
    if plan.frames is not None:
        options += ["--frames", str(plan.frames.resolve())]
    run, settling = _sustain([*command, "run", str(folder), *options], plan, sensors, tell)
    accuracy = Accuracy(figures={}, labelled=0)
    if plan.labels is not None:
        tell("accuracy on the labelled frames", 0.0, None)
        accuracy = _judge([*command, "accuracy", str(folder), *options, "--labels", str(plan.labels)])
    recording = Recording(run.rows)
    settled = recording.since(settling.since_s) if settling.since_s is not None else None
    seconds = float(recording.times_s[-1])
    return Profile(
        subject=Subject(
            model=run.started.model,
            size_bytes=manifest.model.size_bytes,
            board=board.name,
            os_name=board.os_name,
            cores=board.cores,
            frames=plan.frames.name if plan.frames else "",
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            edgeapp=__version__,
        ),
        frames=len(recording.latency_ms),
        seconds=seconds,
        figures={**_figures(run, recording, settled, plan.steady.window_s / _STARTS), **accuracy.figures},
        stages_ms=(settled or recording).stages_ms(),
        settling=settling,
        slowed_s=seconds * sum(run.slow) / len(run.slow) if run.slow else None,
        moments=recording.moments(run.board),
        histogram=(settled or recording).histogram(),
        ways=ways,
        labelled=accuracy.labelled,
    )


def _figures(run: _Run, recording: Recording, settled: Recording | None, start_s: float) -> dict[str, Figure]:
    return {
        "import_ms": Figure(run.started.import_ms),
        "cold_load_ms": Figure(run.started.cold_load_ms),
        "first_ms": Figure(run.started.first_ms),
        "warm_load_ms": Figure(run.started.warm_load_ms),
        "start_p50_ms": Figure(recording.start_p50_ms(start_s)),
        **recording.figures(),
        **(settled.figures("steady_") if settled else {}),
        "rss_mb": Figure(run.rss_mb),
    }


def _measure_ways(folder: Path, plan: Plan, cores: int, tell: Tell) -> tuple[Measured, ...]:
    trials = ROUNDS * 2 * len(thread_counts(cores))
    began_s, done = time.monotonic(), 0

    def count(doing: str) -> None:
        nonlocal done
        left_s = (time.monotonic() - began_s) / done * (trials - done) if done else None
        tell(f"ways to run it, {doing}", done / trials, left_s)
        done += 1

    return tune(folder, cores=cores, budget_s=plan.tuning_s, limits=plan.tuning, on_progress=count)


def _sustain(command: list[str], plan: Plan, sensors: Sensors, tell: Tell) -> tuple[_Run, Settling]:
    """Run frame after frame until all has settled, at most for the plan's seconds."""
    steady, temp_c, rest = SteadyState(plan.steady), None, b""
    with _child(command) as child:
        head, rest = _first_line(child)
        run = _Run(read_json(Started, head, "the profile's child"))
        while not run.rows or run.rows[-FRAME_FIELDS] < plan.seconds:
            rest += child.read(_SILENCE_S)
            whole = len(rest) - len(rest) % _FRAME_BYTES
            new = struct.unpack(f"<{whole // 8}d", rest[:whole])
            rest = rest[whole:]
            run.rows.extend(new)
            for sample in sensors.take():
                temp_c = sample.temp_c
                if (is_slow := _is_slow(sample)) is not None:
                    run.slow.append(is_slow)
            for at in range(0, len(new), FRAME_FIELDS):
                steady.add(new[at], sum(new[at + 1 : at + FRAME_FIELDS]), temp_c)
            run.rss_mb = max(run.rss_mb, processes.rss_mb(child.pid) or 0.0)
            if new:
                run.board.append(BoardPoint(new[-FRAME_FIELDS], temp_c, clock_mhz()))
                left_s = max(0.0, plan.seconds - new[-FRAME_FIELDS])
                tell(f"sustained: {steady.verdict().reason}", 1 - left_s / plan.seconds, left_s)
            if steady.verdict().answer is Answer.SETTLED:
                break
    found = steady.verdict()
    return run, Settling(answer=found.answer.value, reason=found.reason, since_s=found.since_s)


def _is_slow(sample: Sample) -> bool | None:
    """Whether the firmware slows down or lacks voltage now, or did since it was last asked."""
    if sample.flags is None:
        return None
    flags: ThrottleFlags = sample.flags.merged(sample.recent) if sample.recent else sample.flags
    return bool(flags.under_voltage or flags.freq_capped or flags.throttled or flags.soft_limit)


def _judge(command: list[str]) -> Accuracy:
    with _child(command) as child:
        return read_json(Accuracy, _first_line(child, _ACCURACY_S)[0], "the profile's child")


class _Child:
    """A running child, and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], out_fd: int, errors: IO[bytes]) -> None:
        self.pid, self._process, self._out_fd, self._errors = process.pid, process, out_fd, errors

    def read(self, limit_s: float) -> bytes:
        """What it says next.

        Raises:
            ProfileError: it ended, or is silent for `limit_s`.
        """
        if not select.select([self._out_fd], [], [], limit_s)[0]:
            raise ProfileError(f"expected an answer of the model's process within {limit_s:g} s, found none")
        data = os.read(self._out_fd, _CHUNK)
        if not data:
            status = self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").splitlines()
            how = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise ProfileError(lines[-1] if status == 1 and lines else f"the model's process ended with {how}")
        return data


def _first_line(child: _Child, limit_s: float = _SILENCE_S) -> tuple[bytes, bytes]:
    """Its first line, and what came after it."""
    text = b""
    while b"\n" not in text:
        text += child.read(limit_s)
    line, _, rest = text.partition(b"\n")
    return line, rest


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[_Child]:
    read_fd, write_fd = os.pipe()
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [*command, "--out-fd", str(write_fd), "--parent", str(os.getpid())],
                pass_fds=[write_fd],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=processes.child_environment() | ONE_THREAD,
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
        try:
            yield _Child(process, read_fd, errors)
        finally:
            os.close(read_fd)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
