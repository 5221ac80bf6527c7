"""Camera and model at work for `edgeapp aim`: the newest picture, masked, looked at, judged, and as a JPEG.

What vision does with a frame, with vision's own parts, but without the motion gate and at the camera's full size. Sees
pixels; `eyes.py` alone imports it, once the process has left the network.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from edgeapp.aim.look import HEAD, Look, Seen
from edgeapp.aim.quality import measure
from edgeapp.errors import EdgeAppError
from edgeapp.vision import loading, sources
from edgeapp.vision.capture import Capture, RateMeter
from edgeapp.vision.pacing import Pacer
from edgeapp.vision.picture import Framing
from edgeapp.vision.slot import Frame, Slot

if TYPE_CHECKING:
    from edgeapp.config import CameraConfig
    from edgeapp.vision import protocol
    from edgeapp.vision.formats import Picture
    from edgeapp.vision.model import Model

_TAKE_S = 0.5
_MAX_FPS = 10.0  # as much as a person sees the use of, and a phone loads
_SHOWN_WIDTH = 960
_JPEG_QUALITY = 80
_RECORDINGS = ("video", "images")


class Eyes:
    """Camera and model at work, for a person to see."""

    def __init__(self, task: protocol.Configure, out_fd: int) -> None:
        sources.quiet_opencv()
        self._camera = _as_live(task.camera)  # a mailbox: `configure` writes, the main thread reads
        self._out_fd = out_fd
        self._slot = Slot()
        # The whole picture, not one reduced to the model's size: focus shows in the finest detail.
        self._capture = Capture(self._camera, self._slot, min_size=(self._camera.width, self._camera.height))
        self._capture.start()
        self._rate, self._fps = RateMeter(), min(task.inference.max_fps, _MAX_FPS)
        self._model, self._model_error = _load(task)

    def configure(self, camera: CameraConfig) -> None:
        """Other masks, from the next picture on."""
        self._camera = _as_live(camera)

    def run(self) -> None:
        """Look at the newest picture, again and again, until the process is ended."""
        pacer, camera, framing = Pacer(self._fps), self._camera, Framing(self._camera)
        self._slot.want(0)
        while True:
            frame = self._slot.take(_TAKE_S)
            if self._camera is not camera:
                camera = self._camera
                framing = Framing(camera)
            if frame is None:
                self._tell(self._health(), b"")
                continue
            now_ns = time.monotonic_ns()
            self._slot.want(pacer.wanted_at_ns(now_ns, self._capture.source_period_ns))
            self._rate.tick(now_ns)
            self._show(frame, framing)
            pacer.worked(time.monotonic_ns() - now_ns)

    def _show(self, frame: Frame, framing: Framing) -> None:
        picture = framing.apply(frame.picture)
        height, width = picture.shape[:2]
        focus, light = measure(picture, framing.covered)
        detections, invoke_ms = self._detect(picture)
        look = dataclasses.replace(
            self._health(), size=(width, height), detections=detections, focus=focus, light=light, invoke_ms=invoke_ms
        )
        self._tell(look, _jpeg(picture))

    def _detect(self, picture: Picture) -> tuple[tuple[Seen, ...], float | None]:
        if self._model is None:
            return (), None
        try:
            detections, invoke_ms = self._model.predict(picture)
        except EdgeAppError as error:
            self._model_error = f"{error.code}: {error}"
            return (), None
        classes = self._model.manifest.classes
        return tuple(
            Seen(classes[each.class_index], each.score, dataclasses.astuple(each.box)) for each in detections
        ), invoke_ms

    def _health(self) -> Look:
        capture = self._capture.health(time.monotonic_ns())
        model = self._model.manifest if self._model else None
        return Look(
            fps=self._rate.fps,
            source_fps=capture.source_fps,
            camera=capture.state,
            error=capture.error,
            model=f"{model.name} {model.version}" if model else "",
            model_error=self._model_error,
        )

    def _tell(self, look: Look, jpeg: bytes) -> None:
        text = look.as_json()
        rest = memoryview(HEAD.pack(len(text), len(jpeg)) + text + jpeg)
        while rest:
            rest = rest[os.write(self._out_fd, rest) :]


def _as_live(camera: CameraConfig) -> CameraConfig:
    """A recording is played at its own pace and over again."""
    return dataclasses.replace(camera, replay="realtime", loop=True) if camera.kind in _RECORDINGS else camera


def _load(task: protocol.Configure) -> tuple[Model | None, str]:
    """The model, or why there is none: a camera can be aimed without."""
    try:
        model = loading.load(Path(task.inference.model_dir), task.inference, task.delegate_fault)
        model.warm_up()
    except EdgeAppError as error:
        return None, f"{error.code}: {error}"
    return model, ""


def _jpeg(picture: Picture) -> bytes:
    height, width = picture.shape[:2]
    if width > _SHOWN_WIDTH:
        size = _SHOWN_WIDTH, max(1, round(height * _SHOWN_WIDTH / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).view(picture.dtype)
    _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    return encoded.tobytes()
