"""The doctor's process for native code: it may crash or hang, and then one check says so and the others go on.

    python -m edgeapp.doctor.child runtime|model|camera --parent PID   < a Configure of vision's protocol (or nothing)

Answers with one JSON object on stdout, an `Answer` of looks.py; what libraries print goes to stderr. It sees pixels
and writes none: the masks are painted first, only numbers leave, and a crash leaves no core dump. The configuration
comes on stdin, since everybody may read a command line and a stream's address may hold a password.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

from edgeapp.doctor import smallest_model
from edgeapp.doctor.looks import Answer, CameraLook, ModelLook, RuntimeLook, Trouble
from edgeapp.errors import CaptureError, EdgeAppError, ModelError, ProtocolError
from edgeapp.system import processes
from edgeapp.types import DelegateReport
from edgeapp.vision import protocol

_WATCH_S = 3.0  # above the 2 s after which a picture is called black or frozen
_INVOKES = 7
_KIB_PER_MIB = 1024


def look_at_runtime() -> Answer:
    """The libraries, and the smallest model built and run."""
    numpy, opencv = _version("numpy"), _version("cv2")
    name, delegate, error = "", None, ""
    try:
        name, delegate = _run_smallest()
    except EdgeAppError as trouble:
        error = str(trouble)
    except ImportError as trouble:
        error = f"cannot be imported: {trouble}"
    look = RuntimeLook(numpy=numpy, opencv=opencv, runtime=name, delegate=delegate, error=error)
    return Answer(runtime=look)


def _run_smallest() -> tuple[str, DelegateReport]:
    import numpy as np

    from edgeapp.vision.tflite import Runtime

    # The runtime wants a path, and there may be nowhere to write: a file that is in memory only has one.
    descriptor = os.memfd_create("smallest_model")
    os.write(descriptor, smallest_model.content())
    runtime = Runtime(Path(f"/proc/self/fd/{descriptor}"))
    given = np.arange(1, smallest_model.CHANNELS + 1, dtype=np.int8).reshape(1, 1, 1, -1)
    runtime.set_input(runtime.inputs[smallest_model.INPUT], given)
    runtime.invoke()
    found = runtime.output(runtime.outputs[smallest_model.OUTPUT])
    if not np.array_equal(found, given):
        raise ModelError(
            f"{runtime.name} computes wrongly: expected {given.ravel().tolist()} of an identity, "
            f"found {found.ravel().tolist()}"
        )
    return runtime.name, runtime.delegate


def look_at_model(task: protocol.Configure) -> Answer:
    """The configured model, loaded and run on a grey picture.

    Raises:
        ManifestError, ModelError: it cannot be used.
    """
    import numpy as np

    from edgeapp.vision import loading

    model = loading.load(Path(task.inference.model_dir), task.inference)
    model.warm_up()
    grey = np.full((model.manifest.input.height, model.manifest.input.width, 3), 128, np.uint8)
    invokes_ms = [model.predict(grey)[1] for _ in range(_INVOKES)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MIB
    look = ModelLook(model=model.report, invoke_ms=statistics.median(invokes_ms), peak_mb=peak_mb)
    return Answer(model=look)


def look_at_camera(task: protocol.Configure) -> Answer:
    """The configured source, opened and watched for some seconds by the same judges as in `vision`.

    Raises:
        CaptureError: it gives no frames.
    """
    from edgeapp.vision.capture import RateMeter
    from edgeapp.vision.motion import PictureJudge
    from edgeapp.vision.picture import Framing, Thumbnail
    from edgeapp.vision.sources import open_source

    # A recording is played at its own pace and over again, so that it is watched for as long as a camera.
    config = dataclasses.replace(task.camera, replay="realtime", loop=True)
    is_camera = config.kind in ("v4l2", "picamera2")  # a stream may honestly repeat a still picture for longer
    framing, thumbnail, judge, rate = Framing(config), Thumbnail(), PictureJudge(is_live=is_camera), RateMeter()
    source = open_source(config, min_size=(config.width, config.height))
    try:
        frames, picture, torn = 0, None, None
        until_s = time.monotonic() + _WATCH_S
        while time.monotonic() < until_s:
            if not source.grab():
                raise CaptureError(f"the source gave no more after {frames} frames")
            now_ns = time.monotonic_ns()
            rate.tick(now_ns)
            try:
                picture = source.retrieve(picture)
            except CaptureError as error:  # one torn frame is nothing; nothing but torn ones is
                torn = error
                continue
            frames += 1
            judge.see(thumbnail.of(framing.apply(picture)), now_ns, framing.visible_share)
    finally:
        source.close()
    if picture is None:
        raise torn or CaptureError("the source gave no frame")
    height, width = picture.shape[:2]
    look = CameraLook(
        width=width,
        height=height,
        pixel_format=source.pixel_format,
        fps=rate.fps,
        frames=frames,
        picture=judge.verdict.value,
    )
    return Answer(camera=look)


def _version(module: str) -> str:
    try:
        return str(importlib.import_module(module).__version__)
    except Exception:  # an extension built for another NumPy raises more than ImportError
        return ""


def _answer(question: str) -> Answer:
    if question == "runtime":
        return look_at_runtime()
    try:
        task = protocol.decode(sys.stdin.buffer.read())
        if not isinstance(task, protocol.Configure):
            raise ProtocolError(f"stdin: expected Configure, found {type(task).__name__}")
        return look_at_model(task) if question == "model" else look_at_camera(task)
    except EdgeAppError as error:
        return Answer(trouble=Trouble(code=error.code, text=str(error)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edgeapp-doctor-child", description="The doctor's process for native code.")
    parser.add_argument("question", choices=("runtime", "model", "camera"))
    parser.add_argument("--parent", type=int, required=True, help="end with this process")
    chosen = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not processes.die_with_parent(chosen.parent):
        return 0
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # native libraries print where they like
    with os.fdopen(answers, "w") as file:
        json.dump(dataclasses.asdict(_answer(chosen.question)), file)
    sys.stderr.flush()
    os._exit(0)  # native threads are not waited for


if __name__ == "__main__":
    main()
