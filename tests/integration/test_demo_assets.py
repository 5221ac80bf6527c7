"""The demo's real model and video: fetched, converted, quantized and compared, once for all runs of the tests."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeapp.vision.model import Model
from edgeapp.workshop import demo_assets
from edgeapp.workshop.demo_assets import DemoAssets, default_cache, prepare

pytestmark = pytest.mark.timeout(900)  # the first run downloads 14 MB and quantizes


@pytest.fixture(scope="session")
def assets() -> DemoAssets:
    return prepare(default_cache())


def test_nearly_all_of_the_int8_model_runs_on_the_delegate(assets: DemoAssets) -> None:
    model = Model.load(assets.int8_model_dir)
    report = model.report
    model.close()
    assert (report.name, report.classes, report.quantization) == ("pedestrian-ssdlite", ("person",), "int8")
    assert report.delegate.delegated >= 0.9 * report.delegate.nodes > 0
    assert model.report.advice == ()


def test_int8_model_is_less_than_two_fifths_of_the_float_one(assets: DemoAssets) -> None:
    sizes = [(folder / "model.tflite").stat().st_size for folder in (assets.float_model_dir, assets.int8_model_dir)]
    assert sizes == [assets.float_bytes, assets.int8_bytes]
    assert assets.int8_bytes < 0.4 * assets.float_bytes


def test_int8_model_agrees_with_the_float_one_on_frames_it_was_not_calibrated_on(assets: DemoAssets) -> None:
    measured = assets.agreement
    assert measured.frames == 200
    assert measured.references >= 30
    assert measured.f1 >= 0.85
    assert measured.mean_iou is not None
    assert measured.mean_iou >= 0.9
    assert measured.mean_score_difference is not None
    assert measured.mean_score_difference <= 0.06


def test_both_models_find_people_in_the_street_and_nothing_in_a_grey_picture(assets: DemoAssets) -> None:
    capture = cv2.VideoCapture(str(assets.video))
    pictures = [picture for is_there, picture in (capture.read() for _ in range(250)) if is_there]
    capture.release()
    assert len(pictures) == 250
    grey = np.full((272, 640, 3), 128, np.uint8)
    for folder in (assets.float_model_dir, assets.int8_model_dir):
        model = Model.load(folder)
        people = [len(model.predict(np.asarray(picture, np.uint8))[0]) for picture in pictures[::25]]
        assert sum(people) >= 1
        assert model.predict(grey)[0] == ()
        model.close()


def test_second_call_neither_downloads_nor_builds(assets: DemoAssets, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"called again with {arguments}")

    monkeypatch.setattr(demo_assets, "_build", refuse)
    again = prepare(default_cache())
    assert again == dataclasses.replace(assets, was_cached=True)


def test_command_tells_sizes_and_agreement_in_its_last_line(assets: DemoAssets) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeapp.workshop.demo_assets", "--cache", str(default_cache())],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    last = done.stdout.splitlines()[-1]
    assert f"{assets.int8_bytes / 1e6:.1f} MB int8" in last
    assert str(assets.agreement) in last
    assert "from the cache" in last
    assert done.stderr == ""
