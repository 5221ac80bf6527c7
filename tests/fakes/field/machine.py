"""A machine that qemu imitates, with a kernel of its own: started, told what to do, reset, switched off.

Owns the process of qemu and the two lines to it: one to qemu itself (QMP), one to `guest_line.py` in the guest, which
runs commands there. What is on its disk is others' work, and so is its kernel (`kernel.py`). Which accelerator there
is, is tried, not guessed: /dev/kvm may exist and still run no Debian kernel. Without KVM the guest's clock goes by the
instructions that it has executed, so that its watchdogs do not end what is slow only because this machine is busy.
Guarantees that qemu does not outlive this process.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from tests.fakes.field.reached import DeviceTrouble

Accelerator = Literal["kvm", "tcg"]
LINE_PORTS = ("/dev/virtio-ports/line", "/dev/vport0p1", "/dev/vport1p1")
_MARK = b"@@"
_PART_BYTES = 1 << 16
_ANSWER_S, _TRY_S = 30.0, 20.0
_SPARE_S = 120.0  # what an answer may take on its way, beyond what the command may
_SHOWN = 2000
_ALIVE = b"Linux version"
_INSTRUCTION_SHIFT = 1  # an instruction takes 2**1 ns of the guest's time


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """What qemu imitates. `console` is the kernel's name of the first serial line, `disk` qemu's interface for the
    disk and the kernel's name of it, `line` how the guest is reached."""

    architecture: str
    options: tuple[str, ...]
    cpu: str
    console: str
    disk: tuple[str, str] = ("virtio", "/dev/vda")
    line: Literal["virtio", "serial"] = "virtio"

    @property
    def program(self) -> str:
        return f"qemu-system-{self.architecture}"


PC = Board(architecture="x86_64", options=("-M", "q35", "-m", "1536"), cpu="Nehalem", console="ttyS0")
ARM_VIRT = Board(
    architecture="aarch64",
    options=("-M", "virt", "-m", "1536"),
    cpu="cortex-a72",
    console="ttyAMA0",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Software:
    """What a machine boots: files of this machine. `disk` is a raw image, which is written to."""

    kernel: Path
    initramfs: Path
    disk: Path
    kernel_options: tuple[str, ...] = ()


def why_no_machine(board: Board) -> str:
    """Why no such machine can be imitated here; empty where it can."""
    if shutil.which(board.program) is None:
        return f"needs {board.program}: install Debian's package of system emulation for {board.architecture}"
    return ""


def find_accelerator(board: Board, kernel: Path) -> tuple[Accelerator, str]:
    """What runs the guest's instructions, and why not KVM: a kernel is started with KVM, and has to say its name."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg", "there is no /dev/kvm that can be used"
    if os.uname().machine != board.architecture:
        return "tcg", f"this machine is {os.uname().machine}"
    command = [*_qemu(board, "kvm"), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-append", f"console={board.console} earlyprintk={board.console} panic=-1"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        said, until_s = b"", time.monotonic() + _TRY_S
        while _ALIVE not in said and select.select([process.stdout], [], [], max(0.0, until_s - time.monotonic()))[0]:
            part = os.read(process.stdout.fileno(), _PART_BYTES)
            if not part:
                break
            said += part
        process.kill()
    if _ALIVE in said:
        return "kvm", ""
    words = " ".join(said.decode("utf-8", "replace").split())[:200]
    return "tcg", f"under KVM the kernel says nothing within {_TRY_S:g} s: {words or 'no word of qemu either'}"


class Machine:
    """One machine, off at first. Use as a context: at its end qemu is gone."""

    def __init__(
        self,
        folder: Path,
        board: Board,
        software: Software,
        *,
        accelerator: Accelerator = "tcg",
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        """`options` are further ones of qemu, `prefix` is what its command begins with: in which network it runs, say.
        In `folder` stays what the kernel said: console.log."""
        folder.mkdir(parents=True, exist_ok=True)
        self._board, self._software, self._options = board, software, tuple(options)
        self._prefix = tuple(prefix)
        self.accelerator = accelerator
        self.console = folder / "console.log"
        self.boot_id = ""
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._line: _Line | None = None
        self._monitor: _Monitor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *options: str) -> None:
        """Switch it on; `options` are qemu's for this time."""
        assert self._process is None or self._process.poll() is not None, "it is on"
        software, (interface, disk) = self._software, self._board.disk
        ours, lines = [], []
        for _ in range(2):
            here, there = socket.socketpair()
            ours.append(here)
            lines.append(there)
        numbers = [line.fileno() for line in lines]
        command = [*self._prefix, *_qemu(self._board, self.accelerator), "-display", "none"]
        command += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=monitor,fd={numbers[0]}", "-mon", "chardev=monitor,mode=control"]
        command += ["-chardev", f"socket,id=line,fd={numbers[1]}"]
        if self._board.line == "virtio":
            command += ["-device", "virtio-serial", "-device", "virtserialport,chardev=line,name=line"]
        else:
            command += ["-serial", "chardev:line"]
        command += ["-kernel", str(software.kernel), "-initrd", str(software.initramfs)]
        words = (f"console={self._board.console}", f"root={disk}", "rw", "panic=-1", "quiet", *software.kernel_options)
        command += ["-append", " ".join(words)]
        command += ["-drive", f"file={software.disk},format=raw,if={interface},cache=writeback"]
        command += [*self._options, *options]
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=numbers, start_new_session=True
            )
        for line in lines:
            line.close()
        self._monitor, self._line = _Monitor(ours[0]), _Line(ours[1])

    def wait_booted(self, timeout_s: float) -> float:
        """Wait until the guest of a boot that was not seen yet takes commands; how long it took, in s.

        Raises:
            DeviceTrouble: not in time, or qemu ended.
        """
        began_s = time.monotonic()
        while True:
            message = self._hear(began_s + timeout_s, "the guest to take commands")
            if message.get("boot", self.boot_id) != self.boot_id:
                self.boot_id = message["boot"]
                return time.monotonic() - began_s

    def run(self, *command: str, check: bool = True, timeout_s: float = 60.0, content: bytes = b"") -> str:
        """What a command says that is run in the guest as root, with `content` as its input.

        Raises:
            DeviceTrouble: it ends with another status than 0 (unless `check` is False), or there is no answer.
        """
        asked = {"command": command, "input": _packed(content), "timeout_s": timeout_s}
        message = self._ask(asked, timeout_s)
        if check and message["status"] != 0:
            what = f"expected status 0, found {message['status']}: {message['error'].strip()}"
            raise DeviceTrouble(f"{' '.join(command)}: {what}")
        return base64.b64decode(message["out"]).decode("utf-8", "replace")

    def read(self, path: str) -> bytes:
        """A file of the guest.

        Raises:
            DeviceTrouble: it cannot be read.
        """
        message = self._ask({"read": path}, _ANSWER_S)
        if message["status"] != 0:
            raise DeviceTrouble(f"{path}: expected a file of the guest, found: {message['error']}")
        return base64.b64decode(message["out"])

    def write(self, path: str, content: bytes) -> None:
        """Write a file of the guest, onto its disk."""
        message = self._ask({"write": path, "input": _packed(content)}, _ANSWER_S)
        if message["status"] != 0:
            raise DeviceTrouble(f"{path}: cannot be written: {message['error']}")

    def monitor(self, command: str, **arguments: Any) -> Any:
        """Tell qemu itself something (QMP); its answer."""
        assert self._monitor is not None, "it is off"
        return self._monitor.ask(command, arguments)

    def out_byte(self, port: int, value: int) -> None:
        """Write to a port of the machine's bus from outside, as a chip there would change."""
        self.monitor("human-monitor-command", **{"command-line": f"o /b {port:#x} {value:#x}"})

    def reset(self) -> None:
        """Press the reset button: no program and no file system in the guest is told."""
        self.monitor("system_reset")

    def power_off(self, timeout_s: float) -> float:
        """An orderly shutdown; how long it took, in s.

        Raises:
            DeviceTrouble: the guest did not switch itself off in time.
        """
        assert self._process is not None, "it is off"
        began_s = time.monotonic()
        self.run("systemctl", "--no-block", "poweroff")
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DeviceTrouble(f"waited {timeout_s:g} s for the guest to switch itself off") from None
        finally:
            self.kill()
        return time.monotonic() - began_s

    def kill(self) -> None:
        """Cut the power. Does nothing where it is off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for line in (self._line, self._monitor):
            if line is not None:
                line.close()
        self._line = self._monitor = None

    def _ask(self, asked: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._line is not None, "it is off"
        number = next(self._numbers)
        self._line.tell({"number": number, **asked})
        until_s = time.monotonic() + timeout_s + _SPARE_S
        what = asked.get("command") or asked.get("read") or asked["write"]
        while True:
            message = self._hear(until_s, f"an answer to {what}")
            if message.get("number") == number:
                return message

    def _hear(self, until_s: float, what: str) -> dict[str, Any]:
        assert self._line is not None, "it is off"
        message = self._line.hear(until_s)
        if message is None:
            said = self.console.read_text(errors="replace")[-_SHOWN:]
            is_gone = self._process is None or self._process.poll() is not None
            raise DeviceTrouble(f"{'qemu ended while' if is_gone else 'gave up'} waiting for {what}; it said: {said}")
        return message


class _Line:
    """Messages to and from the guest."""

    def __init__(self, link: socket.socket) -> None:
        self._link, self._waiting = link, b""

    def tell(self, message: dict[str, Any]) -> None:
        self._link.sendall(_MARK + base64.b64encode(json.dumps(message).encode()) + b"\n")

    def hear(self, until_s: float) -> dict[str, Any] | None:
        """The next message; None when there is none until the monotonic time `until_s`, or the line is dead."""
        while True:
            while b"\n" in self._waiting:
                line, _, self._waiting = self._waiting.partition(b"\n")
                with contextlib.suppress(ValueError):  # a reset may tear a message
                    message: dict[str, Any] = json.loads(base64.b64decode(line.rpartition(_MARK)[2], validate=True))
                    return message
            if not select.select([self._link], [], [], max(0.0, until_s - time.monotonic()))[0]:
                return None
            part = self._link.recv(_PART_BYTES)
            if not part:
                return None
            self._waiting += part

    def close(self) -> None:
        self._link.close()


class _Monitor:
    """QMP, one question at a time."""

    def __init__(self, link: socket.socket) -> None:
        link.settimeout(_ANSWER_S)
        self._link, self._file, self._is_open = link, link.makefile("rb"), False

    def ask(self, command: str, arguments: dict[str, Any]) -> Any:
        if not self._is_open:
            self._is_open = True
            self.ask("qmp_capabilities", {})
        self._link.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self._file.readline()
            if not line:
                raise DeviceTrouble(f"{command}: qemu ended instead of answering")
            message = json.loads(line)
            if "error" in message:
                raise DeviceTrouble(f"{command}: qemu refuses: {message['error']}")
            if "return" in message:
                return message["return"]

    def close(self) -> None:
        self._file.close()
        self._link.close()


def _packed(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _qemu(board: Board, accelerator: Accelerator) -> list[str]:
    """The beginning of every command line. setpriv has the kernel end qemu with this process."""
    how = ["-accel", "kvm", "-cpu", "host", "-smp", "2"]
    if accelerator == "tcg":
        how = ["-accel", "tcg,thread=single", "-cpu", board.cpu, "-icount", f"shift={_INSTRUCTION_SHIFT}"]
    return ["setpriv", "--pdeathsig", "KILL", board.program, *board.options, *how]
