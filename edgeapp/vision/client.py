"""Control's side of the vision process: start it, hear it, judge it, end it.

Owns the process (or the connection to one that systemd runs) and the decision that it is lost: it died, went silent,
hangs in a read or an invoke, or talks nonsense. Leaves to the pipeline when to start again. Guarantees that no vision
process outlives control: it is told to stop, then killed; the kernel kills it if control dies; and the next start
kills what is still there. A vision that systemd runs belongs to another user and cannot be killed: closing the
connection ends it (`lifeline.py`), and where it hangs too badly for that, systemd's watchdog does.
"""

from __future__ import annotations

import logging
import socket
import time
from pathlib import Path

from edgeapp.config import Config, InferenceConfig
from edgeapp.errors import ProtocolError, VisionLostError
from edgeapp.system import files, processes
from edgeapp.vision import protocol
from edgeapp.vision.channel import Channel
from edgeapp.vision.process import VisionProcess

_LOGGER = logging.getLogger(__name__)
_OPENING_LIMIT_S = 30.0
_STOP_S = 0.6
PID_FILE = "vision.pid"


class VisionClient:
    """One vision process at a time. All calls come from one thread, whose end also ends the process."""

    def __init__(self, config: Config, first: VisionProcess | None = None) -> None:
        """`first` is a process that was started ahead, for the first start."""
        self._config = config
        self._first = first
        self._process: VisionProcess | None = None
        self._channel: Channel | None = None
        self._pid_path = Path(config.paths.runtime_dir) / PID_FILE
        self._heard_s = 0.0
        self._opening_since_s: float | None = None
        self._is_ready = False

    @property
    def pid(self) -> int | None:
        """The child's process id; None where systemd runs vision."""
        process = self._process  # other threads ask, too
        return process.pid if process else None

    def start(self, config: Config, inference: InferenceConfig, delegate_fault: str = "") -> None:
        """Start vision, or connect to it, and tell it what to do: `inference` in place of the configuration's own.

        It may give crops only where escalation is configured, and then only once it is told to keep some.

        Raises:
            VisionLostError: it cannot be reached.
        """
        self._config = config
        self._heard_s, self._opening_since_s, self._is_ready = time.monotonic(), None, False
        path = config.vision.socket
        self._channel = Channel(self._connect(path) if path else self._spawn())
        self._send(
            protocol.Configure(
                camera=config.camera,
                inference=inference,
                motion=config.motion,
                log_level=config.logging.level,
                delegate_fault=delegate_fault,
                crops=config.escalation.crop if config.escalation.enabled else None,
            )
        )

    def receive(self, timeout_s: float) -> protocol.Message | None:
        """The next message, or None after `timeout_s`.

        Raises:
            VisionLostError: vision died, went silent, stalls, refuses, or talks nonsense.
        """
        assert self._channel is not None, "receive before start"
        try:
            message = self._channel.receive(timeout_s)
        except EOFError:
            ending = self._process.obituary() if self._process else "closed the connection"
            raise VisionLostError("died", f"vision {ending}") from None
        except ProtocolError as error:
            raise VisionLostError("nonsense", str(error)) from error
        if message is None:
            self._check_silence()
            return None
        self._heard_s = time.monotonic()
        self._judge(message)
        return message

    def set_rate(self, fps: float) -> None:
        """Tell vision how many frames a second to infer from now on."""
        self._send(protocol.SetRate(fps=fps))

    def order(self, command: protocol.ModelCommand | protocol.CropCommand) -> None:
        """Give a command about two models at once, or about crops.

        It is answered by a message: CandidateReady, Switched, Dropped, or CandidateFailed; AskCrop by Crop or NoCrop.
        """
        self._send(command)

    def end(self, *, kindly: bool) -> None:
        """End vision: by asking first, or at once."""
        if kindly and self._channel is not None:
            self._send(protocol.Stop())
            if self._process is not None and not self._process.wait(_STOP_S):
                _LOGGER.warning("vision did not stop within %.1f s; it is killed", _STOP_S)
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process = None
            self._pid_path.unlink(missing_ok=True)

    def _spawn(self) -> socket.socket:
        self._process, self._first = self._first or VisionProcess.start(), None
        ticks = processes.start_ticks(self._process.pid)
        try:
            files.replace_quickly(self._pid_path, f"{self._process.pid} {ticks}\n".encode())
        except OSError as error:
            _LOGGER.warning("%s cannot be written, so the next start cannot clean up: %s", self._pid_path, error)
        return self._process.connection

    def _connect(self, path: str) -> socket.socket:
        """A connection that waits, where need be, until systemd has started a vision that takes it."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.settimeout(0)  # where too many wait already, it is refused and not waited for
        try:
            connection.connect(path)
            connection.settimeout(None)
        except OSError as error:
            connection.close()
            raise VisionLostError(
                "unreachable", f"vision.socket: expected vision at {path}, found: {error.strerror}"
            ) from error
        return connection

    def _send(self, message: protocol.Message) -> None:
        assert self._channel is not None, "send before start"
        self._channel.send(message)  # what vision does not read is noticed by receive, as its silence or death

    def _judge(self, message: protocol.Message) -> None:
        if isinstance(message, protocol.Ready):
            self._is_ready = True
        elif isinstance(message, protocol.Failure):
            raise VisionLostError("refused", f"{message.code}: {message.text}")
        elif isinstance(message, protocol.Health):
            self._judge_health(message)

    def _judge_health(self, health: protocol.Health) -> None:
        capture = health.capture
        if capture.state == "stalled":
            text = f"the camera hangs in a read: {self._config.camera.kind}"
            raise VisionLostError("stalled", text, is_camera=True)
        if health.busy_s > self._config.vision.invoke_limit_s:
            limit_s = self._config.vision.invoke_limit_s
            raise VisionLostError(
                "stalled", f"one inference: expected at most {limit_s:g} s, found {health.busy_s:.1f} s so far"
            )
        if capture.state != "opening":
            self._opening_since_s = None
        elif self._opening_since_s is None:
            self._opening_since_s = time.monotonic()
        elif time.monotonic() - self._opening_since_s > _OPENING_LIMIT_S:
            text = f"the camera hangs while it is opened: more than {_OPENING_LIMIT_S:g} s"
            raise VisionLostError("stalled", text, is_camera=True)

    def _check_silence(self) -> None:
        silent_s = time.monotonic() - self._heard_s
        limits = self._config.vision
        limit_s = limits.silence_s if self._is_ready else limits.start_limit_s
        if silent_s > limit_s:
            raise VisionLostError(
                "silent", f"vision: expected a message every {limit_s:g} s, found none for {silent_s:.1f} s"
            )


def clean_up(runtime_dir: Path) -> bool:
    """Kill the vision process that an earlier daemon left behind. True when there was one."""
    path = runtime_dir / PID_FILE
    try:
        pid, ticks = (int(word) for word in path.read_text().split())
    except (OSError, ValueError):
        return False
    path.unlink(missing_ok=True)
    return processes.kill_if_same(pid, ticks)
