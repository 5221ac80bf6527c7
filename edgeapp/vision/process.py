"""A vision process as control's child: started, asked how it ended, ended.

Owns the process and the socket that it inherits. Leaves to `client.py` what is said over the socket, and when it is
over. It loads OpenCV and the runtime at once, whether or not anybody has told it yet what to do: so `edgeapp run`
starts it before its own modules are loaded.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys

from edgeapp.system import processes
from edgeapp.system.fork import ForkedProcess

_MODULE = "edgeapp.vision.main"  # never imported here: control knows neither OpenCV nor the runtime


class VisionProcess:
    """One child. The kernel kills it if this process, or the thread that started it, ends."""

    def __init__(self, process: subprocess.Popen[bytes] | ForkedProcess, connection: socket.socket) -> None:
        """Make it with `start` or `fork`."""
        self._process, self.connection = process, connection

    @classmethod
    def start(cls) -> VisionProcess:
        """A process of its own from the beginning."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", _MODULE, "--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
        with theirs:
            process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=processes.child_environment()
            )
        return cls(process, ours)

    @classmethod
    def fork(cls) -> VisionProcess:
        """A copy of this process, which has one thread and has read nothing yet: what both need is loaded once."""
        from edgeapp.vision import model_folder, protocol  # noqa: F401

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control = os.getpid()

        def see() -> int:
            ours.close()
            processes.forget_own_variables()
            status: int = importlib.import_module(_MODULE).see(theirs, control)
            return status

        with theirs:
            return cls(ForkedProcess(see), ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self, budget_s: float) -> bool:
        """Let it end by itself; False where it does not."""
        try:
            self._process.wait(timeout=budget_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it, whatever it does, and wait for that."""
        self._process.kill()
        self._process.wait()

    def obituary(self) -> str:
        """How it ended, in words."""
        try:
            status = self._process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            return "closed its socket"
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
