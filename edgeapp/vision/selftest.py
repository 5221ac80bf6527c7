"""The self-test of a model folder, control's side: start the child, bound it, read its report, judge it.

Owns the limits and the verdict; what is tried is in `selftest_child.py`, which alone loads OpenCV and the runtime. A
damaged or hostile model may crash, hang, or eat memory, so it first meets the device here, in a process that has
nothing and can take nothing: an exec'd child in a process group of its own, with limits on address space, processor
time and written bytes that are set from outside, no core dump, no input, no network where the kernel allows, first in
line for the kernel's out-of-memory killer, and dead with this process. Guarantees: no model makes `self_test` raise
or last longer than its time-out, and no process, file or core dump stays behind.

RLIMIT_NPROC is left alone: it counts all threads of the user, so any value would depend on what else runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeapp.config import Delegate
from edgeapp.document import JSON_MAX_BYTES
from edgeapp.errors import EdgeAppError
from edgeapp.reader import read_json
from edgeapp.system import processes
from edgeapp.types import GoldenReport, ModelReport, TensorReport
from edgeapp.vision.delegate_argument import delegate_argument

_LOGGER = logging.getLogger(__name__)
CRASHED, GOLDEN, BUDGET, TIMEOUT, FAILED = (
    "E_LOAD_CRASH",
    "E_GOLDEN",
    "E_BUDGET",
    "E_SELFTEST_TIMEOUT",
    "E_SELFTEST",
)
_NOISE_BYTES = 4096
_LOOK_S = 0.25
_SHOWN_NOISE = 200
_MIB = 1 << 20
_FIRST_TO_KILL = b"1000"  # oom_score_adj(5)
# One thread each: their pools would cost address space, and fight the delegate for the cores.
ONE_THREAD = processes.ONE_BLAS_THREAD | {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTestLimits:
    """What a self-test may take, and what its model must keep; None: whatever it takes.

    `address_mb` is address space, not memory: Python, OpenCV and the runtime map about 300 MiB of it and use 65.
    """

    wall_s: float = 60.0
    cpu_s: int = 60
    address_mb: int = 1024
    invokes: int = 30
    measure_s: float = 15.0
    median_ms: float | None = None
    p95_ms: float | None = None
    peak_mb: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTestReport:
    """What came of a self-test. `code` is empty where the model passed, and `text` says why it did not.

    What was measured before a failure is there, the rest is None. `load_ms` covers hash, interpreter and warm-up; the
    latencies are of `invokes` bare invokes; `peak_mb` is the child's whole resident memory at its highest, MiB.
    `golden` is None where the folder has no golden cases, too. `tensors` are those that the manifest gives a
    role. `has_network` says that the kernel did not let the child give up the network.
    """

    code: str = ""
    text: str = ""
    model: ModelReport | None = None
    load_ms: float | None = None
    invokes: int = 0
    median_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    worst_ms: float | None = None
    peak_mb: float | None = None
    golden: GoldenReport | None = None
    tensors: dict[str, TensorReport] = field(default_factory=dict)
    has_network: bool = True

    @property
    def passed(self) -> bool:
        return not self.code


@dataclass(frozen=True, slots=True)
class _End:
    """How a child ended: its exit status (negative: a signal), and what it left."""

    status: int
    is_late: bool
    report: bytes
    noise: bytes


def self_test(
    folder: Path,
    limits: SelfTestLimits | None = None,
    *,
    delegate: Delegate = "auto",
    threads: int = 1,
    command: Sequence[str] | None = None,
    stop: threading.Event | None = None,
) -> SelfTestReport:
    """Try a model folder, and a delegate library with it, in a child process. Never raises for whatever they do.

    `command` starts the child in place of this interpreter (elsewhere than here, as under an emulator); what the test
    is to do is appended to it. `stop` ends it early, as a time-out does.
    """
    limits = limits or SelfTestLimits()
    prefix = command or (sys.executable, "-B", "-m", "edgeapp.vision.selftest_child")
    read_fd, write_fd = os.pipe()
    options = {
        "--out-fd": write_fd,
        "--parent": os.getpid(),
        "--delegate": delegate_argument(delegate),
        "--threads": threads,
        "--invokes": limits.invokes,
        "--measure-s": limits.measure_s,
    }
    arguments = [str(folder), *(str(word) for option in options.items() for word in option)]
    deadline_s = time.monotonic() + limits.wall_s
    try:
        process = subprocess.Popen(
            [*prefix, *arguments],
            pass_fds=[write_fd],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=processes.child_environment() | ONE_THREAD,
            start_new_session=True,
        )
    except OSError as error:
        os.close(read_fd)
        return SelfTestReport(code=FAILED, text=f"{prefix[0]}: expected a child process, found: {error}")
    finally:
        os.close(write_fd)
    try:
        _bind(process.pid, limits)
        end = _attend(process, read_fd, deadline_s, stop or threading.Event())
    finally:
        os.close(read_fd)
        _bury(process)
    return judge(_report_of(end, limits), limits)


def judge(report: SelfTestReport, limits: SelfTestLimits) -> SelfTestReport:
    """The report, failed where the model passed but is dearer than its budget."""
    if not report.passed:
        return report
    budgets = (
        ("median latency", report.median_ms, limits.median_ms, "ms"),
        ("95th percentile of latency", report.p95_ms, limits.p95_ms, "ms"),
        ("peak memory", report.peak_mb, limits.peak_mb, "MiB"),
    )
    over = [
        f"{name}: expected at most {limit:g} {unit}, found {found:.3g}"
        for name, found, limit, unit in budgets
        if found is not None and limit is not None and found > limit
    ]
    return dataclasses.replace(report, code=BUDGET, text="; ".join(over)) if over else report


def _bind(pid: int, limits: SelfTestLimits) -> None:
    """Set the child's limits from outside, where nothing that it loads can have a say."""
    wanted = {
        resource.RLIMIT_AS: (limits.address_mb * _MIB, limits.address_mb * _MIB),
        resource.RLIMIT_CPU: (limits.cpu_s, limits.cpu_s + 1),  # SIGXCPU, then SIGKILL
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
    }
    with contextlib.suppress(ProcessLookupError):  # it ended already
        for which, pair in wanted.items():
            highest = resource.prlimit(pid, which)[1]
            soft, hard = (value if highest == resource.RLIM_INFINITY else min(value, highest) for value in pair)
            resource.prlimit(pid, which, (soft, hard))
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_bytes(_FIRST_TO_KILL)
    except OSError as error:
        _LOGGER.debug("self-test: the kernel may kill another process for its memory: %s", error)


def _attend(process: subprocess.Popen[bytes], report_fd: int, deadline_s: float, stop: threading.Event) -> _End:
    """Read what the child says until it ends or is late. Bounded, whatever it says."""
    assert process.stdout is not None, "started with a pipe"
    noise_fd = process.stdout.fileno()
    pid_fd = os.pidfd_open(process.pid)
    heard = {report_fd: b"", noise_fd: b""}
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (report_fd, noise_fd):
                os.set_blocking(descriptor, False)
                selector.register(descriptor, selectors.EVENT_READ)
            selector.register(pid_fd, selectors.EVENT_READ)
            has_ended = False
            while not has_ended and not stop.is_set() and (left_s := deadline_s - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(min(left_s, _LOOK_S))}
                has_ended = pid_fd in ready
                for descriptor in ready - {pid_fd}:
                    if not _hear(descriptor, heard, report_fd):
                        selector.unregister(descriptor)
    finally:
        os.close(pid_fd)
    if has_ended:
        # What it said last is in the pipes; who else holds them open is not waited for.
        for descriptor in heard:
            for _ in range(JSON_MAX_BYTES // _NOISE_BYTES + 1):
                if not _hear(descriptor, heard, report_fd):
                    break
    _kill_group(process.pid)
    return _End(process.wait(), not has_ended, heard[report_fd], heard[noise_fd])


def _hear(descriptor: int, heard: dict[int, bytes], report_fd: int) -> bool:
    """Take what a pipe holds now: of the report the beginning, of the noise the end. False at its end."""
    try:
        chunk = os.read(descriptor, _MIB)
    except BlockingIOError:
        return False
    kept = heard[descriptor] + chunk
    heard[descriptor] = kept[: JSON_MAX_BYTES + 1] if descriptor == report_fd else kept[-_NOISE_BYTES:]
    return bool(chunk)


def _kill_group(pid: int) -> None:
    """Kill the child and its children. Before it is reaped its number cannot be another's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _bury(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        _kill_group(process.pid)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _report_of(end: _End, limits: SelfTestLimits) -> SelfTestReport:
    """What the child said, or what its end says of the model."""
    if end.is_late:
        return SelfTestReport(code=TIMEOUT, text=f"expected an end within {limits.wall_s:g} s, found none")
    if end.status == -signal.SIGXCPU:
        return SelfTestReport(code=TIMEOUT, text=f"expected at most {limits.cpu_s} s of processor time, found more")
    if end.status < 0:
        return SelfTestReport(code=CRASHED, text=f"the process was ended by {_signal_name(-end.status)}{_last(end)}")
    try:
        report = read_json(SelfTestReport, end.report, "self-test report")
    except EdgeAppError as error:
        text = f"the process ended with status {end.status} without a report that can be read: {error}{_last(end)}"
        return SelfTestReport(code=CRASHED, text=text)
    if end.status != 0:
        return dataclasses.replace(report, code=CRASHED, text=f"the process ended with status {end.status}{_last(end)}")
    return report


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"


def _last(end: _End) -> str:
    lines = [line for line in end.noise.decode(errors="replace").splitlines() if line and not line.startswith("INFO:")]
    return f"; its last words: {lines[-1][:_SHOWN_NOISE]}" if lines else ""
