"""What vision is told to run on, over the life of a configuration."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgeapp.config import CameraConfig, Config, DelegateLibrary, DeviceConfig, InferenceConfig, MqttConfig, PathsConfig
from edgeapp.errors import VisionLostError
from edgeapp.types import DelegateReport, ModelReport
from edgeapp.vision.choice import InferenceChoice
from edgeapp.vision.tuning import Measured, Tuning
from edgeapp.vision.tuning_store import TuningStore, find_key
from tests.fakes.tiny_models import make_model_folder

_LIBRARY = DelegateLibrary(library="/usr/lib/libarmnn.so")
_WITH_IT = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("libarmnn.so", 5, 5, 1))
_WITHOUT = dataclasses.replace(_WITH_IT, delegate=DelegateReport("xnnpack", 5, 5, 1, fell_back="it refused"))
_CRASH = VisionLostError("died", "vision was ended by SIGSEGV")


def config(folder: Path, **inference: Any) -> Config:
    if not (folder / "model").exists():
        make_model_folder(folder / "model")
    return Config(
        device=DeviceConfig(id="test"),
        camera=CameraConfig(kind="video", source="none.avi"),
        inference=InferenceConfig(model_dir=str(folder / "model"), **inference),
        mqtt=MqttConfig(host="127.0.0.1"),
        paths=PathsConfig(state_dir=str(folder), runtime_dir=str(folder)),
    )


def started(tmp_path: Path) -> tuple[InferenceChoice, Config]:
    choice, wanted = InferenceChoice(), config(tmp_path, delegate=_LIBRARY)
    assert choice.for_vision(wanted) == (dataclasses.replace(wanted.inference, threads=1), "")
    return choice, wanted


@pytest.mark.parametrize(
    "lost",
    [
        _CRASH,
        VisionLostError("silent", "expected a message every 1.5 s"),
        VisionLostError("stalled", "one inference: expected at most 10 s"),
    ],
    ids=lambda lost: lost.cause,
)
@pytest.mark.parametrize("is_ready", [True, False])
def test_a_library_with_which_vision_was_lost_is_not_touched_again(
    tmp_path: Path, lost: VisionLostError, is_ready: bool
) -> None:
    choice, wanted = started(tmp_path)
    if is_ready:
        choice.model_runs(_WITH_IT)
    choice.vision_was_lost(lost)
    for _ in range(2):
        settled, fault = choice.for_vision(wanted)
        assert settled.delegate == _LIBRARY
        assert fault == f"/usr/lib/libarmnn.so: with it, {lost}"
        choice.model_runs(_WITHOUT)
        choice.vision_was_lost(VisionLostError("died", "vision was ended by SIGKILL"))  # which is not its fault


@pytest.mark.parametrize(
    "lost",
    [
        VisionLostError("stalled", "the camera hangs in a read", is_camera=True),
        VisionLostError("nonsense", "message kind"),
        VisionLostError("unreachable", "nobody"),
        VisionLostError("refused", "E_LOAD"),
    ],
    ids=lambda lost: lost.cause,
)
def test_a_library_is_not_blamed_for_what_is_not_its_doing(tmp_path: Path, lost: VisionLostError) -> None:
    choice, wanted = started(tmp_path)
    choice.model_runs(_WITH_IT)
    choice.vision_was_lost(lost)
    assert choice.for_vision(wanted)[1] == ""


def test_a_library_that_vision_did_not_take_is_not_blamed_for_a_crash(tmp_path: Path) -> None:
    choice, wanted = started(tmp_path)
    choice.model_runs(_WITHOUT)
    choice.vision_was_lost(_CRASH)
    assert choice.for_vision(wanted)[1] == ""


def test_a_model_that_needs_its_library_gets_it_again(tmp_path: Path) -> None:
    """As one that was compiled for the Edge TPU: on XNNPACK it is refused."""
    choice, wanted = started(tmp_path)
    choice.vision_was_lost(_CRASH)
    assert choice.for_vision(wanted)[1] != ""
    choice.vision_was_lost(VisionLostError("refused", "E_LOAD: unresolved custom op: edgetpu-custom-op"))
    assert choice.for_vision(wanted)[1] == ""


def test_auto_is_what_was_measured_best_for_this_very_model(tmp_path: Path) -> None:
    wanted = config(tmp_path)
    key = find_key(tmp_path / "model")
    measured = (Measured(delegate="none", threads=2, median_ms=3.0, p99_ms=4.0),)
    store = TuningStore(tmp_path)
    for other in (dataclasses.replace(key, runtime="older"), dataclasses.replace(key, cores=key.cores + 1)):
        store.keep(Tuning(key=other, measured=measured))
    settled, _ = InferenceChoice().for_vision(wanted)
    assert (settled.delegate, settled.threads) == ("xnnpack", 1)
    store.keep(Tuning(key=key, measured=measured))
    settled, _ = InferenceChoice().for_vision(wanted)
    assert (settled.delegate, settled.threads) == ("none", 2)


def test_a_configuration_that_leaves_nothing_open_is_kept(tmp_path: Path) -> None:
    wanted = config(tmp_path, delegate="none", threads=3)
    assert InferenceChoice().for_vision(wanted) == (wanted.inference, "")


def test_a_model_folder_that_is_not_there_is_visions_to_refuse(tmp_path: Path) -> None:
    wanted = dataclasses.replace(config(tmp_path), inference=InferenceConfig(model_dir="/none"))
    assert InferenceChoice().for_vision(wanted)[0].threads == 1
