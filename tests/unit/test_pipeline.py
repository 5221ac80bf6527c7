"""What control makes of a switch of models in vision."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeapp.config import CameraConfig, Config, DeviceConfig, InferenceConfig, MqttConfig, PathsConfig, ThermalConfig
from edgeapp.model_desk import ModelDesk
from edgeapp.pipeline import Pipeline
from edgeapp.system.clock import SystemClock
from edgeapp.telemetry.spool import Spool
from edgeapp.thermal.sensors import BoardSensors, SensorThread
from edgeapp.types import Box, DelegateReport, Detection, ModelReport, Prediction
from edgeapp.vision import protocol

_MODEL = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))
_NEWER = dataclasses.replace(_MODEL, version=2, sha256="cd" * 32)
_SECOND_NS = 10**9


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    config = Config(
        device=DeviceConfig(id="test"),
        camera=CameraConfig(kind="video", source="none.avi"),
        inference=InferenceConfig(model_dir="none"),
        mqtt=MqttConfig(host="127.0.0.1"),
        paths=PathsConfig(state_dir=str(tmp_path), runtime_dir=str(tmp_path)),
    )
    desk = ModelDesk(config.inference.model_dir)
    desk.first()
    return Pipeline(
        config,
        boot="00",
        clock=SystemClock(),
        sensors=SensorThread(BoardSensors(ThermalConfig())),
        spool=Spool(tmp_path / "spool.db", 10),
        on_report=lambda: None,
        desk=desk,
    )


def _see(pipeline: Pipeline, frame_id: int, model_number: int) -> None:
    """One person standing there."""
    now_ns = frame_id * _SECOND_NS // 10
    found = (Detection(Box(0.4, 0.4, 0.5, 0.8), 0.9, 0),)
    pipeline._handle(Prediction(frame_id, now_ns, now_ns, 5.0, found, model_number))


@pytest.mark.parametrize(("classes", "go_on"), [(("person",), True), (("person", "dog"), False)])
def test_tracks_go_on_over_a_switch_where_the_classes_are_the_same(
    pipeline: Pipeline, classes: tuple[str, ...], go_on: bool
) -> None:
    pipeline._handle(protocol.Ready(model=_MODEL, model_number=1))
    for frame_id in range(1, 8):
        _see(pipeline, frame_id, 1)
    tracker = pipeline._census._tracker
    newer = dataclasses.replace(_NEWER, classes=classes)
    pipeline._handle(protocol.Switched(model=newer, model_number=2, frame_id=8))
    _see(pipeline, 8, 2)
    assert pipeline.health().model == newer
    assert (pipeline._census._tracker is tracker) is go_on


def test_a_failed_candidate_is_the_troubles_of_the_status_and_changes_nothing(pipeline: Pipeline) -> None:
    pipeline._handle(protocol.Ready(model=_MODEL, model_number=1))
    pipeline._handle(protocol.CandidateReady(model=_NEWER, model_number=2, load_ms=12.0))
    pipeline._handle(protocol.CandidateFailed(code="E_LOAD", text="torn"))
    health = pipeline.health()
    assert health.model == _MODEL
    assert health.trouble is not None
    assert (health.trouble.code, health.trouble.text) == ("E_LOAD", "torn")
