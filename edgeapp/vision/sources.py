"""Opens what `camera.kind` names: a V4L2 camera, a Raspberry Pi camera, an RTSP stream, a video file, a folder.

Owns the choice, the RTSP and Picamera2 sources, and the silence of OpenCV. V4L2 and recordings have files of their
own. Guarantees that whatever goes wrong is a CaptureError which says what was expected, found and where, and that no
password in a stream's address reaches an error or a log.
"""

from __future__ import annotations

import importlib
import os
import re
import socket
import time
from typing import Any

import cv2
import numpy as np

from edgeapp.config import CameraConfig
from edgeapp.errors import CaptureError
from edgeapp.interfaces import FrameSource
from edgeapp.vision.formats import Picture, Size, fourcc_name
from edgeapp.vision.picture import raw_size_for
from edgeapp.vision.replay import ImagesSource, VideoSource, Wait
from edgeapp.vision.v4l2 import open_v4l2

_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 3000
_PROBE_TIMEOUT_S = 2.0
_RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
_ADDRESS = re.compile(r"\[(?P<v6>[^\]]+)\](?::(?P<port6>\d+))?|(?P<host>[^:/?#]+)(?::(?P<port>\d+))?")
_LOG_LEVEL_SILENT = 0
_US_PER_S = 1_000_000
_MAX_FPS = 240.0  # some streams say 90000, the rate of their clock


def quiet_opencv() -> None:
    """Keep OpenCV and FFmpeg from writing to stderr, and OpenCV from spinning up a thread for every core.

    What they would say comes as a CaptureError instead; FFmpeg would print a stream's address with its password.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read when FFmpeg is first used
    # OpenCV 5 moved it; the device with the older runtime has OpenCV 4.
    set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    set_log_level(_LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)


def open_source(config: CameraConfig, *, min_size: Size, wait: Wait = time.sleep) -> FrameSource:
    """Open the configured source.

    `min_size` is the least width and height that the model needs after crop and rotation: a JPEG may be decoded
    reduced as far as that. `wait` sleeps between the frames of a recording.

    Raises:
        CaptureError: it cannot be opened, and why.
    """
    quiet_opencv()
    min_raw_size = raw_size_for(config, min_size)
    match config.kind:
        case "v4l2":
            return open_v4l2(config, min_raw_size=min_raw_size)
        case "picamera2":
            return Picamera2Source(config)
        case "rtsp":
            return RtspSource(config.source)
        case "video":
            return VideoSource(config, min_raw_size=min_raw_size, wait=wait)
        case "images":
            return ImagesSource(config, wait=wait)


class RtspSource:
    """One connected RTSP stream, over TCP: with UDP a lost packet smears the picture until the next key frame.

    `grab` decodes, since pictures of H.264 build on one another; only the conversion to BGR is spared a dropped frame.
    """

    def __init__(self, url: str, *, open_timeout_ms: int = _OPEN_TIMEOUT_MS) -> None:
        """
        Raises:
            CaptureError: unreachable, refused, or no stream at that address.
        """
        if not url.lower().startswith(("rtsp://", "rtsps://")):
            raise CaptureError(f"camera.source: expected rtsp:// or rtsps://, found {redact(url)}")
        self._name = redact(url)
        # OpenCV reads this at every open. The process has one camera, so a process-wide setting does no harm.
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
        self._capture = cv2.VideoCapture(
            url,
            cv2.CAP_FFMPEG,
            [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_timeout_ms),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS),
                *(cv2.CAP_PROP_N_THREADS, 1),  # more threads hold frames back
            ],
        )
        if not self._capture.isOpened():
            self._capture.release()
            raise CaptureError(f"{self._name}: {_probe(url)}")
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 0 < fps <= _MAX_FPS else 0.0
        self.pixel_format = fourcc_name(self._capture.get(cv2.CAP_PROP_FOURCC))

    def grab(self) -> bool:
        return self._capture.grab()

    def retrieve(self, buffer: Picture | None) -> Picture:
        is_there, picture = self._capture.retrieve(buffer) if buffer is not None else self._capture.retrieve()
        if not is_there:
            raise CaptureError(f"{self._name}: a frame cannot be decoded")
        return picture.view(np.uint8)

    def close(self) -> None:
        self._capture.release()


class Picamera2Source:
    """One started Raspberry Pi camera, through libcamera. `source` is its number, 0 for the first."""

    def __init__(self, config: CameraConfig) -> None:
        """
        Raises:
            CaptureError: Picamera2 is not installed, or there is no such camera.
        """
        library = _import_picamera2()
        self._mapped_array = library.MappedArray
        self._request: Any = None
        self._camera: Any = None
        # Picamera2 names formats after the order in a register: its "RGB888" lies in memory as B, G, R.
        self.pixel_format = "BGR888"
        self.fps = config.fps
        frame_us = round(_US_PER_S / config.fps)
        try:
            self._camera = library.Picamera2(int(config.source) if config.source.isdecimal() else 0)
            wanted = self._camera.create_video_configuration(
                main={"size": (config.width, config.height), "format": "RGB888"},
                controls={"FrameDurationLimits": (frame_us, frame_us)},
                buffer_count=4,
                queue=False,
            )
            self._camera.align_configuration(wanted)  # to what the image processor can do, without padding
            self._camera.configure(wanted)
            self._camera.start()
            self.width, self.height = self._camera.camera_configuration()["main"]["size"]
        except Exception as error:  # libcamera's bindings raise RuntimeError, IndexError and others
            self.close()
            raise CaptureError(f"Raspberry Pi camera {config.source}: cannot be started: {error}") from error

    def grab(self) -> bool:
        self._release()
        try:
            self._request = self._camera.capture_request()
        except Exception as error:
            raise CaptureError(f"Raspberry Pi camera: gave no frame: {error}") from error
        return self._request is not None

    def retrieve(self, buffer: Picture | None) -> Picture:
        try:
            with self._mapped_array(self._request, "main") as mapped:
                pixels = mapped.array
                if buffer is None or buffer.shape != pixels.shape:
                    return np.array(pixels, np.uint8)  # a copy: the mapping ends with this block
                np.copyto(buffer, pixels)
                return buffer
        except Exception as error:
            raise CaptureError(f"Raspberry Pi camera: the frame cannot be read: {error}") from error

    def close(self) -> None:
        self._release()
        camera, self._camera = self._camera, None
        if camera is not None:
            camera.stop()
            camera.close()

    def _release(self) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.release()


def _import_picamera2() -> Any:
    try:
        return importlib.import_module("picamera2")
    except ImportError as error:
        raise CaptureError(
            f"camera.kind: picamera2 needs Picamera2, which is not to be found ({error}): "
            "apt install python3-picamera2, and let the virtual environment see Debian's packages"
        ) from error


def redact(url: str) -> str:
    """Scheme, host and port alone. Passwords hide before the @, in paths and in queries, so all of that goes."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "an address without a scheme"
    address = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{scheme}://{address}/…" if _ADDRESS.fullmatch(address) else f"{scheme}://…"


def _probe(url: str) -> str:
    """Why a stream did not open: OpenCV does not say, but a TCP connection tells the commonest causes apart."""
    scheme, _, rest = url.partition("://")
    address = _ADDRESS.match(rest.rpartition("@")[2])
    if address is None:
        return "expected rtsp://host:port/path"
    host = address["v6"] or address["host"]
    port = int(address["port6"] or address["port"] or _RTSP_PORTS[scheme.lower()])
    try:
        socket.create_connection((host, port), _PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        return f"no connection to {host} port {port}: {error}"
    return f"{host} port {port} answers, but gives no stream: wrong path, wrong password, or too many viewers"
