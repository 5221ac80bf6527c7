"""Per-layer error: a planted bad layer is found by its effect, and keeping it in float32 mends the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgeapp.errors import ConvertError
from edgeapp.manifest import InputSpec
from edgeapp.workshop.convert import GraphCut, convert_graph
from edgeapp.workshop.graphdef import read_graph
from edgeapp.workshop.layers import LayerError, layer_errors, worst
from edgeapp.workshop.quantize import Calibrated, Sample, calibrate
from tests.fakes.frozen_graph import TinyDetector

_SPEC = InputSpec(width=8, height=8, mean=(127.5,), std=(127.5,))
_BAD, _READER = "depthwise/relu", "sum"  # the tensor with a planted range, and the layer that reads it


def _samples(seed: int) -> list[Sample]:
    random = np.random.default_rng(seed)
    return [random.uniform(-1, 1, TinyDetector.input_shape).astype(np.float32) for _ in range(8)]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    detector = TinyDetector()
    cut = GraphCut(input_node=detector.input_node, input_shape=detector.input_shape, outputs=detector.outputs)
    path = tmp_path_factory.mktemp("float") / "float.tflite"
    path.write_bytes(convert_graph(read_graph(detector.content), cut))
    return calibrate(path, _samples(0), input_spec=_SPEC)


def _with_range(calibrated: Calibrated, name: str, factor: float) -> Calibrated:
    """The range of one tensor made wrong."""
    found = calibrated.statistics[name]
    wrong = {**found, "min": found["min"] * factor, "max": found["max"] * factor}
    return dataclasses.replace(calibrated, statistics={**calibrated.statistics, name: wrong})


def _errors(calibrated: Calibrated, tmp_path: Path, kept: tuple[str, ...] = ()) -> dict[str, LayerError]:
    out = tmp_path / "int8.tflite"
    calibrated.write_int8(out, keep_float=kept)
    return {layer.name: layer for layer in layer_errors(calibrated, out, _samples(1))}


def test_a_sound_model_errs_little_and_cuts_off_little(calibrated: Calibrated, tmp_path: Path) -> None:
    layers = _errors(calibrated, tmp_path)
    assert all(layer.sqnr_db > 20 for layer in layers.values())
    assert all(layer.cut.share < 0.05 for layer in layers.values())


@pytest.mark.parametrize("factor", [40.0, 0.05])
def test_the_layers_at_a_wrong_range_have_the_largest_effect_and_kept_in_float_they_mend_the_outputs(
    calibrated: Calibrated, tmp_path: Path, factor: float
) -> None:
    sound = _errors(calibrated, tmp_path)["scores"].sqnr_db
    spoilt = _with_range(calibrated, _BAD, factor)
    layers = _errors(spoilt, tmp_path)
    found = {layer.name: layer for layer in worst(layers.values(), 2)}
    assert set(found) == {_BAD, _READER}
    assert all(layer.effect is not None and layer.effect > 0.5 for layer in found.values())
    assert layers["scores"].sqnr_db < sound - 5
    assert (layers[_BAD].cut.power > 1) is (factor < 1)
    mended = _errors(spoilt, tmp_path, (_BAD, _READER))
    assert mended["scores"].sqnr_db > sound - 2


def test_outputs_are_never_offered_to_be_kept_in_float(calibrated: Calibrated, tmp_path: Path) -> None:
    layers = _errors(calibrated, tmp_path)
    assert {layers[name].effect for name in calibrated.outputs if name in layers} == {None}
    assert {layer.operator for layer in worst(layers.values(), 99)} <= {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD"}


def test_without_pictures_there_is_nothing_to_compare(calibrated: Calibrated, tmp_path: Path) -> None:
    calibrated.write_int8(tmp_path / "int8.tflite")
    with pytest.raises(ConvertError, match="found none"):
        layer_errors(calibrated, tmp_path / "int8.tflite", [])
