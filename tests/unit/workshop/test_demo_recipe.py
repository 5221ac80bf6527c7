"""The demo's recipe as far as it needs no download: its cache key and the int8 model's input."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgeapp
from edgeapp.manifest import InputSpec
from edgeapp.vision.preprocess import make_table
from edgeapp.vision.tensor import TensorSpec
from edgeapp.workshop import demo_assets
from edgeapp.workshop.quantize import QuantizedModel, shifted_input

INPUT = InputSpec(width=8, height=8, mean=(127.5,), std=(127.5,))


def _quantized(scale: float, zero_point: int) -> QuantizedModel:
    return QuantizedModel(
        input_name="input", input_scale=float(np.float32(scale)), input_zero_point=zero_point, outputs={}
    )


def test_key_is_stable_and_changes_with_every_pinned_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {demo_assets.recipe_key(), demo_assets.recipe_key()}
    assert len(keys) == 1
    for name in ("GRAPH", "VIDEO"):
        for field in ("wheel_sha256", "member_sha256"):
            with monkeypatch.context() as patch:
                patch.setattr(demo_assets, name, replace(getattr(demo_assets, name), **{field: "0" * 64}))
                keys.add(demo_assets.recipe_key())
    assert len(keys) == 5
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


def test_key_changes_with_the_source_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(edgeapp.__file__).parent
    copy = tmp_path / "edgeapp"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(demo_assets, "__file__", str(copy / "workshop" / "demo_assets.py"))
    keys = {demo_assets.recipe_key()}
    steps = ("graphdef", "convert", "tflite_file", "quantize", "agreement", "model_folder_writer", "demo_assets")
    for step in steps:
        with (copy / "workshop" / f"{step}.py").open("a") as source:
            source.write("# changed\n")
        keys.add(demo_assets.recipe_key())
    assert len(keys) == 1 + len(steps)


def test_key_changes_with_the_version_of_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    before = demo_assets.recipe_key()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.0")
    assert demo_assets.recipe_key() != before


@pytest.mark.parametrize("zero_point", [-1, 0])
def test_int8_input_is_the_pixel_less_128_and_half_a_level_off_at_most(zero_point: int) -> None:
    quantized = _quantized(2 / 255, zero_point)
    spec = shifted_input(INPUT, quantized)
    tensor = TensorSpec("input", (1, 8, 8, 3), "int8", quantized.input_scale, zero_point)
    numbers = make_table(spec, tensor, 3).view(np.int8).astype(int)
    pixels = np.arange(256)
    assert numbers.tolist() == (pixels - 128).tolist()
    seen = (numbers - zero_point) * quantized.input_scale
    assert np.abs(seen - (pixels - 127.5) / 127.5).max() <= 0.5001 / 127.5


@pytest.mark.parametrize(
    ("spec", "scale", "zero_point"),
    [
        (INPUT, 0.0064, 5),
        (replace(INPUT, mean=(100.0,)), 2 / 255, -1),
        (replace(INPUT, std=(127.5, 127.5, 60.0)), 2 / 255, -1),
        (replace(INPUT, mean=(127.5, 100.0, 127.5)), 2 / 255, -1),
    ],
)
def test_input_of_another_kind_keeps_its_mean(spec: InputSpec, scale: float, zero_point: int) -> None:
    assert shifted_input(spec, _quantized(scale, zero_point)) == spec


def test_cache_is_where_the_environment_says_or_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAPP_CACHE", "/somewhere/else")
    assert demo_assets.default_cache() == Path("/somewhere/else")
    monkeypatch.delenv("EDGEAPP_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert demo_assets.default_cache() == Path("/home/someone/.cache/edgeapp")


def test_command_says_what_went_wrong_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    assert demo_assets.main(["--cache", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("E_FETCH: ")
