"""Judges the source of frames. Pure."""

from __future__ import annotations

from edgeapp.config import CameraConfig
from edgeapp.doctor.looks import CameraLook, Trouble
from edgeapp.doctor.report import Judgement
from edgeapp.status import Line

_SLOW_SHARE = 0.8
_CAMERA_ADVICE = {
    "v4l2": "see what is plugged in:  ls -l /dev/v4l/by-id/\nand what has it open:  fuser -v /dev/video*",
    "picamera2": "see what the board finds:  rpicam-hello --list-cameras\n"
    "then check the ribbon cable at both ends, with the power off",
    "rtsp": "correct camera.source: host, port, path, user and password; try the same address in a player",
    "video": "correct camera.source: the path of a video file that this user may read",
    "images": "correct camera.source: the path of a folder of jpg, png or bmp files that this user may read",
}


def camera(look: CameraLook | Trouble, config: CameraConfig) -> Judgement:
    """The configured source, after some seconds of watching it."""
    if isinstance(look, Trouble):
        return Judgement("fail", look.text, _CAMERA_ADVICE[config.kind])
    fps = f"{look.fps:.1f} fps" if look.fps else "too slow to measure its rate"
    found = f"{config.kind}, {look.width} x {look.height} {look.pixel_format}, {fps}"
    if look.picture == "black":
        return Judgement("fail", f"{found}: the picture is black", "take off the lens cap, or switch on a light")
    if look.picture == "frozen":
        return Judgement("fail", f"{found}: the picture stands still", "unplug the camera and plug it in again")
    if config.kind in ("v4l2", "picamera2") and (look.width, look.height) != (config.width, config.height):
        advice = "set camera.width and camera.height to a size that it offers:  v4l2-ctl --list-formats-ext"
        return Judgement("warn", f"{found}, but {config.width} x {config.height} is asked for", advice)
    if config.kind in ("v4l2", "picamera2") and look.fps < _SLOW_SHARE * config.fps:
        advice = "more light shortens the exposure; a USB camera may be faster with camera.pixel_format: mjpeg"
        return Judgement("warn", f"{found}, but {config.fps:g} fps are asked for", advice)
    return Judgement("ok", found)


def camera_in_use(line: Line | None) -> Judgement:
    """The camera while the daemon has it: what the daemon's own status says, None where it has none yet."""
    if line is None:
        return Judgement("warn", "in use by edgeapp, which has no status yet", "ask again in a few seconds")
    advice = "" if line.level == "ok" else "edgeapp status"
    return Judgement(line.level, f"in use by edgeapp, which says: {line.text}", advice)
