"""What scripts/bench builds for itself: networks, files for MediaPipe, the least loops, the picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgeapp.vision.model import Model
from tests.fakes.bench import least, mobilenet
from tests.fakes.bench.peers import with_plain_ends
from tests.fakes.bench.picture import draw
from tests.fakes.bench.raw_avi import write_raw_avi
from tests.fakes.bench.ways import Picture, floors, frame_paths, frames_of
from tests.fakes.tiny_models import make_model_folder


@pytest.fixture
def pictures() -> list[Picture]:
    random = np.random.default_rng(5)
    return [random.integers(0, 256, (96, 128, 3), np.uint8) for _ in range(2)]


@pytest.mark.parametrize("build", [mobilenet.mobilenet_v1, mobilenet.mobilenet_v2])
def test_random_network_becomes_an_int8_model_that_sees_its_first_class(
    tmp_path: Path, build: Callable[[float, int], bytes]
) -> None:
    sample = np.random.default_rng(6).integers(0, 256, (32, 32, 3), np.uint8)
    mobilenet.write_int8_folder(tmp_path / "small", build(0.25, 32), 32, [sample])
    model = Model.load(tmp_path / "small")
    (seen,), _ = model.predict(sample)
    assert seen.class_index == 0
    assert model.report.delegate.delegated >= model.report.delegate.nodes - 1


def test_model_for_mediapipe_says_what_the_model_says(tmp_path: Path) -> None:
    file = make_model_folder(tmp_path) / "model.tflite"
    ours, theirs = Interpreter(str(file)), Interpreter(model_content=with_plain_ends(file.read_bytes()))
    picture = np.random.default_rng(7).integers(0, 256, (1, 32, 32, 3), np.uint8)
    answers = []
    for interpreter, values in ((ours, (picture ^ 0x80).view(np.int8)), (theirs, picture)):
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        answers.append([interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()])
    for detail, mine, other in zip(ours.get_output_details(), *answers, strict=True):
        scale, zero_point = detail["quantization"]
        assert other == pytest.approx((mine.astype(np.float32) - zero_point) * scale)


def test_least_program_infers_every_picture_that_it_is_given(
    tmp_path: Path, pictures: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(least, "_SETTLE_S", 0.2)
    model = make_model_folder(tmp_path) / "model.tflite"
    write_raw_avi(tmp_path / "video.avi", pictures * 20, 25)
    paced = least.run_least(model, str(tmp_path / "video.avi"), 20.0, 1.0)
    assert 0 < paced.fps < 40
    flat_out = least.run_least(model, str(tmp_path / "video.avi"), 0.0, 1.0)
    assert flat_out.fps > paced.fps
    assert flat_out.cpu_ms > 0


def test_floor_feeds_the_model_what_our_path_does(tmp_path: Path, pictures: list[Picture]) -> None:
    model = Model.load(make_model_folder(tmp_path))
    frames = frames_of(pictures[:1])
    ours, lowest = frame_paths(model, frames), floors(model, frames)
    assert set(ours) == set(lowest) == {"raw BGR", "YUYV", "MJPEG"}
    interpreter = model._runtime._interpreter
    source = interpreter.get_input_details()[0]["index"]
    for name, way in ours.items():
        way()
        expected = interpreter.get_tensor(source)
        lowest[name]()
        assert (interpreter.get_tensor(source) == expected).all()


def test_every_figure_has_its_place_in_the_picture(tmp_path: Path) -> None:
    case = {"throughput_ratio": 0.9, "cpu_ratio": 1.1, "p50_ratio": 1.2, "p99_ratio": 1.5}
    result = {
        "cases": {"raw BGR 640x480": case, "whole daemon, raw BGR 640x480": case},
        "live": {"capacity_left": case, "overload": case},
        "no_motion_ratio": 0.02,
        "pss_mb": 70.0,
        "start_ratio": 2.0,
        "idle_cpu_pct": 1.0,
        "invoke_ms": 7.0,
        "switch": {"count": 3, "lost": 0, "worst_gap_periods": 1.0, "quiet_gap_periods": 1.0},
    }
    draw(tmp_path / "plain.png", result)
    ratios = {"cortex-a76": {"small, raw BGR": 1.02, "small, raw BGR, floor": 1.01}}
    draw(tmp_path / "all.png", {**result, "peers": {"another": case}, "arm": ratios})
    plain, everything = (cv2.imread(str(tmp_path / name)) for name in ("plain.png", "all.png"))
    assert plain is not None
    assert everything is not None
    assert everything.shape[0] > plain.shape[0]
    with pytest.raises(OSError, match="cannot be written"):
        draw(tmp_path / "nowhere" / "plain.png", result)


def test_a_raw_video_gives_back_every_picture_bit_for_bit(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pictures = [random.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(5)]
    write_raw_avi(tmp_path / "raw.avi", pictures, 25)
    capture = cv2.VideoCapture(str(tmp_path / "raw.avi"), cv2.CAP_FFMPEG)
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    for picture in pictures:
        assert np.array_equal(capture.read()[1], picture)
    assert not capture.grab()
