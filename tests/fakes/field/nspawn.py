"""A device whose first process is a real systemd: systemd-nspawn on an overlay, as a rule over this machine's own tree.

Owns the overlay, the control groups, the container and how it is reached (nsenter). Nothing of the machine is changed:
what the device writes goes to the overlay's upper folder, which ends with it. Needs root, overlayfs and the Debian
package systemd-container; `why_not` says what is missing. Which network it has, its options say. Several devices may
run beside each other.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.fakes.field.reached import DeviceTrouble, ReachedDevice

_BOOT_S, _STOP_S = 60.0, 30.0
_WANTS = ("multi-user", "timers", "sockets", "sysinit", "graphical", "network-online")
_ETC_SYSTEM = Path("etc/systemd/system")
_NUMBERS = itertools.count(1)
_JOIN = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs"; shift; done; shift; exec "$@"'


def why_not(work: Path) -> str:
    """Why no device can be booted here; empty where it can. Tries the overlay in `work`."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("systemd-nspawn") is None:
        return "needs systemd-nspawn: install the Debian package systemd-container"
    if shutil.which("nsenter") is None:
        return "needs nsenter: install the Debian package util-linux"
    try:
        with overlay(work / "probe", Path("/")):
            return ""
    except subprocess.CalledProcessError as error:
        return f"the kernel gives no overlay: {error.stderr.strip()}"


@contextlib.contextmanager
def overlay(folder: Path, tree: Path) -> Iterator[Path]:
    """A tree with all changes kept in memory; the merged tree."""
    layers, root = folder / "layers", folder / "root"
    upper, work = layers / "upper", layers / "work"
    for each in (layers, root):
        each.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Where this machine is a container, its own tree is an overlay, which cannot be the upper layer of another.
        _run(["mount", "-t", "tmpfs", "-o", "size=50%,mode=755", "tmpfs", str(layers)])
        stack.callback(_run, ["umount", "--lazy", str(layers)])
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={tree},upperdir={upper},workdir={work}"
        _run(["mount", "-t", "overlay", "overlay", "-o", options, str(root)])
        stack.callback(_run, ["umount", "--lazy", str(root)])
        yield root


@contextlib.contextmanager
def control_groups(name: str) -> Iterator[Sequence[Path]]:
    """New control groups of this process's own, one in each hierarchy by which a systemd knows its processes.

    With --keep-unit a device has the groups that it was started in, and two devices in the same ones would take each
    other's processes for their own.
    """
    groups = [folder / name for folder in _own_groups()]
    for group in groups:
        group.mkdir()
    try:
        yield groups
    finally:
        for group in groups:
            for folder in (*sorted(group.rglob("*/"), reverse=True), group):
                folder.rmdir()


def _own_groups() -> Iterator[Path]:
    top = Path("/sys/fs/cgroup")
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "name=systemd":
            hierarchy = top / "systemd"
        elif controllers == "":
            hierarchy = top / "unified" if (top / "unified").is_dir() else top
        else:
            continue
        own = hierarchy / path.lstrip("/")
        yield own if own.is_dir() else hierarchy  # in a container our own group may be the top of what is mounted


class NspawnDevice(ReachedDevice):
    """One device: `root` is its tree, to be prepared before `boot`. Use as a context."""

    def __init__(self, folder: Path, *, tree: Path = Path("/"), options: Sequence[str] = ()) -> None:
        """`tree` is the Debian to build on; `options` are further ones of systemd-nspawn."""
        self._folder, self._tree, self._options = folder, tree, list(options)
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._name = f"edgeapp-{os.getpid()}-{next(_NUMBERS)}"
        self.root = folder / "root"
        self.console = folder / "console.log"

    def __enter__(self) -> Self:
        self._stack.enter_context(overlay(self._folder, self._tree))
        self._groups = self._stack.enter_context(control_groups(self._name))
        for name in _WANTS:
            shutil.rmtree(self.root / _ETC_SYSTEM / f"{name}.target.wants", ignore_errors=True)
        (self.root / "etc/machine-id").write_text("")
        (self.root / "var/log/journal").mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._stack.close()

    def boot(self) -> float:
        """Start systemd and wait until it has done what is to be done at the start. How long it took, in s."""
        began_s = time.monotonic()
        command = ["sh", "-ec", _JOIN, "sh", *(str(group) for group in self._groups), "--"]
        command += ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe"]
        command += ["--link-journal=no", "--machine", self._name, "--directory", str(self.root)]
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._options, "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.wait(self._is_up, "systemd to have started", _BOOT_S)
        return time.monotonic() - began_s

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0) -> str:
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--all", "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise DeviceTrouble(f"{' '.join(command)}: expected status 0, found {done.returncode}: {done.stderr}")
        return done.stdout

    @property
    def leader(self) -> int:
        """The process id of the device's first process, as seen from outside."""
        return self._leader

    def power_off(self) -> None:
        """An orderly shutdown."""
        assert self._process is not None, "not booted"
        os.kill(self._leader, signal.SIGRTMIN + 4)  # systemd(1): start poweroff.target
        self._process.wait(_STOP_S)

    def kill(self) -> None:
        """End the first process, and all others with it. Does nothing where none runs."""
        if self._process is None or self._process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leader or self._process.pid, signal.SIGKILL)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise DeviceTrouble(f"the device ended while it started: {self.console.read_text()[-2000:]}")
        self._leader = self._find_leader(self._process.pid)
        if not self._leader:
            return False
        state = self.run("systemctl", "is-system-running", check=False).strip()
        return state in ("running", "degraded")

    def _find_leader(self, pid: int) -> int:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() in ("systemd", "init"):
                    return int(child)
        return 0


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
