"""The other side of the eyes: starts them, keeps their newest word, and starts them again when they fail.

Sees no pixel: a JPEG is bytes here. Owns the child process. Guarantees: memory for two pictures at most, a child that
says nothing for too long is ended, and no child outlives this process.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO

from edgeapp.aim.look import HEAD, Look
from edgeapp.system import processes
from edgeapp.vision import protocol
from edgeapp.vision.channel import Channel

_LOGGER = logging.getLogger(__name__)
_MAX_JSON, _MAX_JPEG = 256 * 1024, 4 * 1024 * 1024
_AGAIN_S = 2.0
_STOP_S = 0.2


@dataclass(frozen=True, slots=True)
class Shown:
    """What the eyes said last: a Look as JSON and a JPEG, which may be empty. `number` counts on through restarts."""

    number: int
    look: bytes
    jpeg: bytes


class Viewer:
    """One pair of eyes, watched by a thread of its own."""

    def __init__(self, task: protocol.Configure, *, silence_s: float) -> None:
        self._task, self._silence_s = task, silence_s
        self._changed = threading.Condition()
        self._shown = Shown(0, Look(camera="starting").as_json(), b"")
        self._stop = threading.Event()
        self._link: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the eyes."""
        self._stop.set()
        while self._thread.is_alive():
            process = self._process  # another one, where it was just being started
            if process is not None:
                process.kill()
            self._thread.join(_STOP_S)

    def newer_than(self, number: int, timeout_s: float) -> Shown:
        """The newest word once it is newer than `number`, or the one there is after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._shown.number > number, timeout_s)
            return self._shown

    def configure(self, task: protocol.Configure) -> None:
        """Other masks, from now on."""
        self._task = task
        link = self._link
        if link is not None and not link.send(task) and self._process is not None:
            self._process.kill()  # it starts again with the new ones: the old must not be taken for them

    # From here on everything runs in the viewer's thread, with which the kernel ends the child.

    def _run(self) -> None:
        while not self._stop.is_set():
            trouble = self._one_life()
            if self._stop.is_set():
                return
            _LOGGER.warning("the process that sees %s; it is started again", trouble)
            self._tell(Look(camera="starting", error=f"the process that sees {trouble}").as_json(), b"")
            self._stop.wait(_AGAIN_S)

    def _one_life(self) -> str:
        """Start the eyes and listen until they end; how they ended."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read_fd, write_fd = os.pipe()
        command = [sys.executable, "-m", "edgeapp.aim.eyes", "--fd", str(theirs.fileno())]
        command += ["--out-fd", str(write_fd), "--parent", str(os.getpid())]
        with theirs, os.fdopen(read_fd, "rb", buffering=0) as pictures:
            process = self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), write_fd],
                stdin=subprocess.DEVNULL,
                env=processes.child_environment(),
            )
            os.close(write_fd)
            theirs.close()
            self._link = Channel(ours)
            self._link.send(self._task)
            try:
                self._listen(pictures)
                return f"ended with status {process.wait(timeout=1.0)}"
            except (TimeoutError, subprocess.TimeoutExpired):
                return f"said nothing for {self._silence_s:g} s"
            except ValueError as error:
                return str(error)
            finally:
                process.kill()
                process.wait()
                self._link.close()

    def _listen(self, pictures: IO[bytes]) -> None:
        """Take what comes until the pipe ends.

        Raises:
            TimeoutError: nothing came for too long.
            ValueError: what came is more than a picture can be.
        """
        while len(head := self._read(pictures, HEAD.size)) == HEAD.size:
            json_bytes, jpeg_bytes = HEAD.unpack(head)
            if json_bytes > _MAX_JSON or jpeg_bytes > _MAX_JPEG:
                raise ValueError(f"sent a picture of {jpeg_bytes} bytes with {json_bytes} of text")
            look = self._read(pictures, json_bytes)
            jpeg = self._read(pictures, jpeg_bytes)
            if len(look) == json_bytes and len(jpeg) == jpeg_bytes:
                self._tell(look, jpeg)

    def _read(self, pictures: IO[bytes], count: int) -> bytes:
        """`count` bytes, or fewer where the pipe ends."""
        read, until_s = bytearray(), time.monotonic() + self._silence_s
        while len(read) < count:
            if not select.select([pictures], [], [], max(0.0, until_s - time.monotonic()))[0]:
                raise TimeoutError
            piece = pictures.read(count - len(read))
            if not piece:
                break
            read += piece
        return bytes(read)

    def _tell(self, look: bytes, jpeg: bytes) -> None:
        with self._changed:
            self._shown = Shown(self._shown.number + 1, look, jpeg)
            self._changed.notify_all()
