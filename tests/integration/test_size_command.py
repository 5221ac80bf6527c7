"""`edgeapp-workshop size` on model folders that it measures itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeapp.workshop import cli
from tests.fakes import quantize_lab
from tests.fakes.tiny_models import make_model_folder


def test_of_two_measured_folders_the_one_that_is_right_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    red, green, blue = quantize_lab.COLOURS
    make_model_folder(tmp_path / "right", decoder="classifier", classes=(red, green, blue))
    make_model_folder(tmp_path / "wrong", decoder="classifier", classes=(green, blue, red))
    frames = quantize_lab.write_pictures(tmp_path / "frames", count=9)
    labels = quantize_lab.write_labels(tmp_path / "labels.json", count=9)
    out = tmp_path / "size.html"
    measured = ["--frames", frames, "--labels", labels, "--seconds", "1", "--provisional", "--out", out, "--json"]
    arguments = ["size", tmp_path / "right", tmp_path / "wrong", "--floor", "0.9", "--budget", "10000", *measured]
    assert cli.main(list(map(str, arguments))) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picked"] == "right"
    why = {each["name"]: each["why"] for each in found["candidates"]}
    assert why["wrong"].startswith("top-1 misses the floor of 0.9 by 100 %")
    assert "had not settled" in found["notes"][0]
    assert "top-1" in out.read_text()
