"""MediaPipe Tasks' object detector on given frames, in a Python that has MediaPipe and nothing of edgeapp.

    python mediapipe_loop.py MODEL.tflite ANCHORS.npy FRAMES.npz

MediaPipe takes no model without its own metadata, so it is added here with MediaPipe's own writer: the anchors, the
box coding and the normalization; weights and graph stay as they are. Each number on stdin is answered by a line on
stdout, after so many frames: wall_ms, cpu_ms, p50_ms, p99_ms and how many frames had a detection.
"""

import json
import sys
import tempfile
import time
import types
from pathlib import Path

import cv2
import mediapipe
import numpy
from mediapipe.tasks import python as tasks
from mediapipe.tasks.python import vision

# MediaPipe 1.2 ships the writer without a native module of it that works out one version number.
_VERSIONS = types.ModuleType("_pywrap_metadata_version")
_VERSIONS.GetMinimumMetadataParserVersion = lambda buffer: "1.5.0"
_PLACE = "mediapipe.tasks.cc.metadata.python"
for depth in range(3, 6):
    sys.modules.setdefault(".".join(_PLACE.split(".")[:depth]), types.ModuleType("missing"))
sys.modules[_PLACE]._pywrap_metadata_version = _VERSIONS

from mediapipe.tasks.python.metadata.metadata_writers import (  # noqa: E402
    metadata_info,
    metadata_writer,
    object_detector,
)


def with_metadata(model, anchors):
    """The model file's bytes with what MediaPipe wants to know of SSD heads without suppression."""
    fixed = [object_detector.FixedAnchor(x, y, width, height) for y, x, height, width in anchors.tolist()]
    writer = object_detector.MetadataWriter.create_for_models_without_nms(
        bytearray(model),
        [127.5],
        [127.5],
        metadata_writer.Labels().add(["background", "person"]),
        object_detector.SsdAnchorsOptions(object_detector.FixedAnchorsSchema(fixed)),
        object_detector.TensorsDecodingOptions(
            num_classes=2,
            num_boxes=len(fixed),
            num_coords=4,
            keypoint_coord_offset=0,
            num_keypoints=0,
            num_values_per_keypoint=2,
            x_scale=10.0,
            y_scale=10.0,
            w_scale=5.0,
            h_scale=5.0,
            apply_exponential_on_box_size=True,
            sigmoid_score=False,
        ),
        metadata_info.RawDetectionOutputTensorsOrder.LOCATION_SCORE,
    )
    return bytes(writer.populate()[0])


def main():
    model, anchors, frames = sys.argv[1:]
    pictures = list(numpy.load(frames)["pictures"])
    cv2.setNumThreads(1)
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(with_metadata(Path(model).read_bytes(), numpy.load(anchors)))
        file.flush()
        options = vision.ObjectDetectorOptions(
            base_options=tasks.BaseOptions(model_asset_path=file.name),
            running_mode=vision.RunningMode.IMAGE,
            score_threshold=0.5,
            category_allowlist=["person"],
        )
        detector = vision.ObjectDetector.create_from_options(options)

    def infer(picture):
        image = mediapipe.Image(mediapipe.ImageFormat.SRGB, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        return detector.detect(image)

    for line in sys.stdin:
        count = int(line)
        times, seen = [], 0
        cpu_began, began = time.process_time_ns(), time.perf_counter_ns()
        for index in range(count):
            one_began = time.perf_counter_ns()
            seen += bool(infer(pictures[index % len(pictures)]).detections)
            times.append((time.perf_counter_ns() - one_began) / 1e6)
        wall_ms = (time.perf_counter_ns() - began) / 1e6 / count
        cpu_ms = (time.process_time_ns() - cpu_began) / 1e6 / count
        times.sort()
        p99_ms = times[min(count - 1, count * 99 // 100)]
        print(json.dumps([wall_ms, cpu_ms, times[count // 2], p99_ms, seen]), flush=True)


if __name__ == "__main__":
    main()
