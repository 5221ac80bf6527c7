"""Model files rewritten to be watched: the same numbers, each layer for itself, and which are twins."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgeapp.errors import CompareError, ConvertError
from edgeapp.vision.model import Model
from edgeapp.workshop import trace
from edgeapp.workshop.tflite_file import pack, unpack
from edgeapp.workshop.watch import Kernels
from tests.fakes.tiny_twins import make_float, make_int8, pictures


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("twins")
    float_folder = make_float(folder / "float")
    return float_folder, make_int8(float_folder, folder / "int8", pictures(4, 1))


def _content(folder: Path) -> bytes:
    return (folder / "model.tflite").read_bytes()


def test_an_opened_model_gives_the_outputs_of_the_closed_one(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        model = Model.load(folder, delegate="none")
        values = model.preprocess(pictures(1, 2)[0])
        outputs, _ = model.run(values)
        with Kernels(trace.opened(_content(folder))) as kernels:
            seen = kernels.run({model.input.name: values})
        layers = {layer.name: layer for layer in trace.read_layers(_content(folder))}
        for role, spec in model.outputs.items():
            assert np.array_equal(seen[trace.tensor_name(layers[spec.name].outputs[0])], outputs[role])
        assert len(seen) == len(layers)


def test_layers_taken_apart_and_fed_with_what_they_had_give_what_they_gave(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        content = _content(folder)
        layers = trace.read_layers(content)
        with Kernels(trace.opened(content)) as whole, Kernels(trace.taken_apart(content)) as apart:
            source = next(iter(whole.inputs.values()))
            model = Model.load(folder)
            given = model.preprocess(pictures(1, 3)[0])
            answers = whole.run({source.name: given})
            seen = {trace.tensor_name(source.index): given, **answers}
            slots = {
                trace.slot_name(layer.index, position): seen[trace.tensor_name(tensor)]
                for layer in layers
                for position, tensor in layer.slots
            }
            assert set(slots) == set(apart.inputs)
            found = apart.run(slots)
            assert all(np.array_equal(found[name], answers[name]) for name in answers)
            first = trace.tensor_name(layers[0].outputs[0])
            # One that is fed otherwise disturbs no other: the layers do not know each other any more.
            slots[trace.slot_name(layers[0].index, 0)] = np.zeros_like(given)
            changed = [name for name, values in apart.run(slots).items() if not np.array_equal(values, answers[name])]
            assert changed == [first]


def test_twins_are_found_by_name_and_without_names_by_their_order(folders: tuple[Path, Path]) -> None:
    reference, edge = (trace.read_layers(_content(folder)) for folder in folders)
    by_name = trace.match_layers(reference, edge)
    assert {edge[0].index: reference[0]}.items() <= by_name.items()
    assert all(by_name[layer.index].name == layer.name for layer in edge if layer.operator not in trace.CONVERSIONS)
    nameless = [dataclasses.replace(layer, name=f"x{layer.index}") for layer in edge]
    assert trace.match_layers(reference, nameless) == by_name


def test_layers_of_another_operator_or_shape_are_no_twins(folders: tuple[Path, Path]) -> None:
    reference = trace.read_layers(_content(folders[0]))
    other = [dataclasses.replace(layer, operator="TANH", shape=(7,)) for layer in reference]
    assert trace.match_layers(reference, other) == {}


def test_a_model_of_several_graphs_is_refused(folders: tuple[Path, Path]) -> None:
    model = unpack(_content(folders[0]))
    model.subgraphs.append(model.subgraphs[0])
    with pytest.raises(CompareError, match="one graph, found 2"):
        trace.read_layers(pack(model))


def test_data_that_stands_after_the_flatbuffer_is_kept(folders: tuple[Path, Path]) -> None:
    model = unpack(_content(folders[0]))
    weights = next(buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 64)
    data = bytes(weights.data)
    weights.data, weights.offset, weights.size = None, 1 << 20, len(data)
    outside = pack(model)
    weights = next(buffer for buffer in model.buffers if buffer.size)
    weights.offset = len(outside)
    again = unpack(pack(model) + data)
    assert any(buffer.data is not None and bytes(buffer.data) == data for buffer in again.buffers)
    with pytest.raises(ConvertError, match="end too early"):
        unpack(pack(model) + data[:-1])
