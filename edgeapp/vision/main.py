"""The process that sees pixels. Read this second, after daemon.py.

Owns the camera and the model; has no network and nowhere to write. One connection with control is one life of this
process: it begins with what to do (Configure), and when control goes, the process ends. Three threads meet here:

    capture   camera → slot (newest frame wins)                                              capture.py, slot.py
    main      slot → masks → motion gate → preprocess → TFLite + delegate → decode → socket  this file
              in a trial, now and then: the same frame → the model of before → comparison.py
    talk      socket → commands; every half second the health of the other two → socket      this file
              with a consent: a crop that control asks for → socket                          crops.py

A fourth ends the process when control goes, whatever these do: lifeline.py. For a moment now and then there is a fifth,
which loads another model beside the running one or frees one: models.py.

The talk thread works while an invoke runs, since invoke lets go of the interpreter lock; so control can tell a slow
model from a dead process.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgeapp.errors import CaptureError, EdgeAppError, ModelError, ProtocolError
from edgeapp.system import journal, notify, processes
from edgeapp.types import Detection, Prediction
from edgeapp.vision import lifeline, protocol
from edgeapp.vision.channel import Channel
from edgeapp.vision.comparison import compare, next_comparison_ns
from edgeapp.vision.pacing import Pacer

if TYPE_CHECKING:
    from edgeapp.vision.comparison import Seen
    from edgeapp.vision.formats import Picture
    from edgeapp.vision.model import Model

_LOGGER = logging.getLogger(__name__)
_NAME = "edgeapp-vision"
_HEALTH_PERIOD_S = 0.5
_TAKE_S = 0.25
_CONFIGURE_S = 10.0
_SWITCH_INTERVAL_S = 0.0005  # measured: p50 beside a busy Python thread 1.1 times instead of 1.8 times the bare one
_SYSTEMD_FIRST_FD = 3
_CAPTURE_STOP_S = 0.2
_FROZEN_CAMERA_S = 2.0  # a sensor has noise, so the same picture for this long is no picture
_FROZEN_STREAM_S = 30.0  # an encoder repeats a still picture honestly from one key frame to the next
_JUDGE_NS = 250_000_000  # without a motion gate, how often the picture is judged; it costs a thumbnail
Detections = tuple[Detection, ...]


class Eyes:
    """Camera and model at work: everything between the camera and the predictions."""

    def __init__(self, link: Channel, task: protocol.Configure) -> None:
        # Only here does the heavy native code come in; control imports this package's protocol without it.
        from edgeapp.vision import capture, crops, model_folder, models, motion, picture, slot, sources

        sources.quiet_opencv()  # its thread pool would fight the delegate for the cores
        self._link, self._task = link, task
        self.stop = threading.Event()
        self.wanted_fps = task.inference.max_fps  # a mailbox: the talk thread writes, the main thread reads
        self._inferred = self._failures = self._inferring_ns = 0
        self._busy_since_ns = 0
        self._compared = self._matched = self._compare_at_ns = 0
        folder = Path(task.inference.model_dir)
        spec = model_folder.read_manifest(folder).input  # loading the model verifies the folder
        self._slot = slot.Slot()
        self._capture = capture.Capture(task.camera, self._slot, min_size=(spec.width, spec.height))
        self._capture.start()  # the camera opens while the model loads
        self._framing = picture.Framing(task.camera)
        self._thumbnail = picture.Thumbnail()
        self._gate = motion.MotionGate(task.motion)
        kind = task.camera.kind
        frozen_s = _FROZEN_STREAM_S if kind == "rtsp" else _FROZEN_CAMERA_S
        self._judge = motion.PictureJudge(is_live=kind in ("v4l2", "picamera2", "rtsp"), frozen_s=frozen_s)
        self._judged_ns = 0
        self.crops = crops.CropStore(task.crops)
        self.models = models.Models(self._load(folder), load=self._load, send=link.send)
        first = self.models.active
        link.send(protocol.Ready(model=first.model.report, model_number=first.model_number))

    def _load(self, folder: Path) -> Model:
        """A model, checked and warm. Called beside the inference, too."""
        from edgeapp.vision import loading

        loaded = loading.load(folder, self._task.inference, self._task.delegate_fault)
        try:
            loaded.warm_up()
        except EdgeAppError:
            loaded.close()
            raise
        return loaded

    def run(self) -> None:
        """Infer the newest frame at the wanted rate until told to stop."""
        pacer = Pacer(self.wanted_fps)
        fps, is_fast = self.wanted_fps, self._task.camera.replay == "fast"
        last: Detections = ()
        next_id = 0
        self._slot.want(0)
        while not self.stop.is_set():
            if self.wanted_fps != fps:
                fps, now_ns = self.wanted_fps, time.monotonic_ns()
                pacer.set_rate(fps, now_ns)
                self._slot.want(now_ns)
            frame = self._slot.take(_TAKE_S)
            next_id = frame.frame_id if frame is not None else next_id
            if self.models.flip(next_id):
                last = self._begin_with_another()
            self._capture.need(self.models.needed_size)
            if frame is None:
                continue
            next_id += 1
            active = self.models.active
            now_ns = time.monotonic_ns()
            self._slot.want(0 if is_fast else pacer.wanted_at_ns(now_ns, self._capture.source_period_ns))
            self._busy_since_ns = now_ns
            try:
                picture = self._framing.apply(frame.picture)
                last, invoke_ms = self._predict(active.model, picture, now_ns, last)
            except (ModelError, CaptureError) as error:
                self._failures += 1
                self._gate.reset()  # no later frame may pass for this one's like: it gave nothing
                _LOGGER.warning("frame %d: %s: %s", frame.frame_id, error.code, error)
                continue
            finally:
                self._busy_since_ns = 0
            predicted_ns = time.monotonic_ns()
            if invoke_ms is not None:
                self._inferred += 1
                self._inferring_ns += predicted_ns - now_ns
                pacer.worked(predicted_ns - now_ns)
            self._link.send(
                Prediction(frame.frame_id, frame.captured_ns, predicted_ns, invoke_ms, last, active.model_number)
            )
            if self.crops.is_on and invoke_ms is not None:
                self.crops.keep(picture, frame.frame_id, last, active.model.manifest.classes, predicted_ns)
            if invoke_ms is not None and predicted_ns >= self._compare_at_ns:
                self._compare(picture, (last, active.model.manifest.classes), predicted_ns)

    def _begin_with_another(self) -> Detections:
        """Another model runs: nothing that the one before it said may be passed off as its own."""
        self._gate.reset()
        return ()

    def _compare(self, picture: Picture, seen: Seen, now_ns: int) -> None:
        """Ask the other model, where one is warm, what it sees in the picture that the running one has just seen."""
        self._busy_since_ns = now_ns
        try:
            opinion = self.models.second_opinion(picture)
            if opinion is not None:
                compared, matched = compare(seen, opinion)
                self._compared += compared
                self._matched += matched
        except (ModelError, CaptureError) as error:
            _LOGGER.debug("the other model: %s: %s", error.code, error)
        finally:
            self._busy_since_ns = 0
        ended_ns = time.monotonic_ns()
        self._compare_at_ns = next_comparison_ns(ended_ns, ended_ns - now_ns)

    def _predict(
        self, model: Model, picture: Picture, now_ns: int, last: Detections
    ) -> tuple[Detections, float | None]:
        """One frame without its masked parts: the gate, then the model. A still picture keeps the last detections."""
        has_gate = self._task.motion.enabled
        if has_gate or now_ns - self._judged_ns >= _JUDGE_NS:
            thumbnail = self._thumbnail.of(picture)
            self._judge.see(thumbnail, now_ns, self._framing.visible_share)
            self._judged_ns = now_ns
            if has_gate and not self._gate.is_changed(thumbnail, now_ns):
                return last, None
        return model.predict(picture)

    def health(self) -> protocol.Health:
        """How capture and inference do, at this moment."""
        now_ns = time.monotonic_ns()
        # In this order no snapshot shows more frames inferred or dropped than captured.
        inferred, busy_since_ns = self._inferred, self._busy_since_ns
        matched, compared = self._matched, self._compared  # in this order: matched never exceeds compared
        capture = dataclasses.replace(self._capture.health(now_ns), picture=self._judge.verdict.value)
        busy_s = (now_ns - busy_since_ns) / 1e9 if busy_since_ns else 0.0
        return protocol.Health(
            capture=capture,
            inferred=inferred,
            inferring_s=self._inferring_ns / 1e9,
            failures=self._failures,
            busy_s=busy_s,
            rss_mb=processes.rss_mb(os.getpid()),
            compared=compared,
            matched=matched,
        )

    def close(self) -> None:
        """Let go of the camera where it lets go; a hanging driver is left to the end of the process."""
        self.stop.set()
        self._slot.close()
        self._capture.stop(_CAPTURE_STOP_S)


def serve(link: Channel) -> int:
    """One life: configure, run, end. The exit status."""
    try:
        task = link.receive(_CONFIGURE_S)
        if not isinstance(task, protocol.Configure):
            raise ProtocolError(f"first message: expected Configure, found {type(task).__name__}")
        logging.getLogger().setLevel(task.log_level.upper())
        eyes = Eyes(link, task)
    except EOFError:
        return 0
    except EdgeAppError as error:
        _LOGGER.error("%s: %s", error.code, error)
        link.send(protocol.Failure(code=error.code, text=str(error)))
        return 1
    talk = threading.Thread(target=_talk, args=(link, eyes), name="talk", daemon=True)
    talk.start()
    try:
        eyes.run()
    finally:
        eyes.close()
    return 0


def _talk(link: Channel, eyes: Eyes) -> None:
    """Commands in, health out, until control goes or says stop. Ends the process if the main thread does not."""
    next_health = 0.0
    try:
        while not eyes.stop.is_set():
            now = time.monotonic()
            if now >= next_health:
                link.send(eyes.health())
                next_health = now + _HEALTH_PERIOD_S
            message = link.receive(max(0.0, next_health - now))
            if isinstance(message, protocol.SetRate):
                eyes.wanted_fps = message.fps
            elif isinstance(message, protocol.ModelCommand):
                eyes.models.handle(message)
            elif isinstance(message, protocol.KeepCrops):
                eyes.crops.turn(is_on=message.is_on)
            elif isinstance(message, protocol.AskCrop):
                link.send(eyes.crops.answer(message, time.monotonic_ns()))
            elif isinstance(message, protocol.Stop):
                break
    except EOFError:
        pass
    except ProtocolError as error:
        _LOGGER.error("control: %s", error)
    eyes.close()
    time.sleep(0.3)  # a frame in work may end by itself
    os._exit(0)  # a hanging driver or delegate must not keep the camera


def _import_ahead() -> None:
    """OpenCV, NumPy and the runtime, most of a start: loaded while control still gets ready."""
    os.environ.update(processes.ONE_BLAS_THREAD)
    from edgeapp.vision import capture, crops, loading, models, motion, tflite  # noqa: F401

    with suppress(EdgeAppError):  # told when the model is loaded
        tflite.import_runtime()


def _listen(path: Path) -> socket.socket:
    """The connection with control, made on a socket that systemd hands over, or on one of our own."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
        server = socket.socket(fileno=_SYSTEMD_FIRST_FD)
    else:
        path.unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server.bind(str(path))
        path.chmod(0o660)
        server.listen(1)
    notify.notify("READY=1", "STATUS=waits for control")
    with server:
        server.settimeout(lifeline.FEED_S)
        while True:
            notify.notify("WATCHDOG=1")
            with suppress(TimeoutError):
                connection = server.accept()[0]
                if not lifeline.is_cut(connection):
                    notify.notify("STATUS=works for control")
                    return connection
                connection.close()  # control waited for us and gave up meanwhile


def see(connection: socket.socket | Path, parent_pid: int | None) -> int:
    """The whole life of the process, which is set up first; its exit status.

    `connection` is that with control, or the path of the socket on which to wait for it; with `parent_pid` the process
    ends with that one.
    """
    journal.set_up("info", identifier=_NAME, plain="vision: %(levelname)s: %(message)s")
    processes.call_this_process(_NAME)
    if parent_pid is not None and not processes.die_with_parent(parent_pid):
        return 0
    for ignored in (signal.SIGINT, signal.SIGHUP):  # a terminal sends these to the whole group; control decides
        signal.signal(ignored, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    processes.share_one_heap()
    _import_ahead()
    if isinstance(connection, Path):
        connection = _listen(connection)
    lifeline.hold(connection)
    return serve(Channel(connection))


def main(arguments: list[str] | None = None) -> None:
    """Start as a program. Ends the process."""
    import argparse  # not where control has read the arguments

    parser = argparse.ArgumentParser(prog=_NAME, description="The process that sees pixels.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--fd", type=int, help="the inherited socket to control")
    way.add_argument("--listen", type=Path, help="the socket path on which to wait for control")
    parser.add_argument("--parent", type=int, help="end with this process")
    chosen = parser.parse_args(arguments)
    status = see(chosen.listen or socket.socket(fileno=chosen.fd), chosen.parent)
    sys.stderr.flush()
    os._exit(status)  # native threads and a hanging capture are not waited for


if __name__ == "__main__":
    main()
