"""A vision process as control's child: started, asked how it ended, ended.

Owns the process and the socket that it inherits. Leaves to `client.py` what is said over the socket, and when it is
over. It loads OpenCV and the runtime at once, whether or not anybody has told it yet what to do: so `edgeapp run`
starts it before its own modules are loaded.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from edgeapp.system import processes


class VisionProcess:
    """One child. The kernel kills it if this process, or the thread that started it, ends."""

    def __init__(self) -> None:
        self.connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "edgeapp.vision.main", "--fd", str(theirs.fileno())]
        command += ["--parent", str(os.getpid())]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=processes.child_environment()
            )

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
