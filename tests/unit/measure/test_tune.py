"""Measuring the ways to run a model, on a real tiny one."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeapp.errors import ModelError
from edgeapp.measure.tune import ROUNDS, tune
from edgeapp.vision.selftest import SelfTestLimits
from tests.fakes.tiny_models import make_model_folder

_QUICK = SelfTestLimits(invokes=5)


def test_every_way_is_measured_in_interleaved_rounds(tmp_path: Path) -> None:
    told: list[str] = []
    measured = tune(make_model_folder(tmp_path), cores=2, limits=_QUICK, on_progress=told.append)
    assert [(way.delegate, way.threads) for way in measured] == [("xnnpack", 1), ("none", 1)]
    assert all(0 < way.median_ms <= way.p99_ms for way in measured)
    assert [line.split(": ")[1] for line in told] == ["xnnpack, threads 1", "none, threads 1"] * ROUNDS


def test_the_first_round_is_whole_however_short_the_time(tmp_path: Path) -> None:
    told: list[str] = []
    measured = tune(make_model_folder(tmp_path), cores=3, budget_s=0.0, limits=_QUICK, on_progress=told.append)
    assert [(way.delegate, way.threads) for way in measured] == [
        ("xnnpack", 1), ("none", 1), ("xnnpack", 2), ("none", 2),
    ]  # fmt: skip
    assert len(told) == len(measured)


def test_a_model_that_fails_its_self_test_is_not_measured(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path)
    (folder / "model.tflite").write_bytes(b"torn")
    with pytest.raises(ModelError, match="E_MANIFEST"):
        tune(folder, cores=2, budget_s=0.0, limits=_QUICK)
