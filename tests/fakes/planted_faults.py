"""Faults in an edge model whose place is known beforehand: for what compares models, to be found.

Each is planted in a copy of a model folder, or is a delegate library. A wrong zero point is one in the file itself: the
tensor's. Writer and readers of the tensor agree about it, so that all it does is to shift the range that the tensor can
say (and, through operators that copy bytes, its values); one that cuts no value off is no fault.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.vision.model import Model
from edgeapp.vision.model_folder import open_model_folder, read_manifest
from edgeapp.vision.selftest import SelfTestLimits, self_test
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.tflite_file import pack, unpack
from edgeapp.workshop.trace import Layer, opened, read_layers, tensor_name
from edgeapp.workshop.watch import Kernels

_LEAST_SHIFT, _MOST_SHIFT = 64, 128  # half the range: signed taken for unsigned
_LEAST_CUT = 40  # steps by which the furthest value lies beyond the shifted range
_LOWEST, _HIGHEST = -128, 127


@dataclass(frozen=True, slots=True)
class WrongZeroPoint:
    """Where it was planted. `drawn`: how many were drawn until one was a fault in a file that the runtime takes."""

    folder: Path
    layer: Layer
    shift: int
    drawn: int


class Planter:
    """Plants wrong zero points in copies of one int8 model, which is watched on some pictures first."""

    def __init__(self, folder: Path, pictures: Sequence[npt.NDArray[np.uint8]]) -> None:
        self._folder = folder
        _, path = open_model_folder(folder)
        self._content = path.read_bytes()
        self.layers = read_layers(self._content)
        self._extremes = _extremes(folder, self._content, pictures)

    def plant(self, out: Path, random: np.random.Generator) -> WrongZeroPoint:
        """A copy in `out` with the zero point of a random layer's output shifted by a random amount."""
        drawn = 0
        while True:
            drawn += 1
            layer = self.layers[random.integers(len(self.layers))]
            shift = int(random.integers(_LEAST_SHIFT, _MOST_SHIFT + 1)) * int(random.choice([-1, 1]))
            if self._is_fault(layer, shift) and self.shifted(out, layer, shift):
                return WrongZeroPoint(out, layer, shift, drawn)

    def shifted(self, out: Path, layer: Layer, shift: int) -> bool:
        """Write the copy. False where no runtime takes it: some operators demand equal zero points."""
        model = unpack(self._content)
        quantization = model.subgraphs[0].tensors[layer.outputs[0]].quantization
        zero_point = int(quantization.zeroPoint[0]) + shift
        if not _LOWEST <= zero_point <= _HIGHEST:
            return False
        quantization.zeroPoint = np.array([zero_point], np.int64)
        replace_model(self._folder, out, pack(model))
        return self_test(out, SelfTestLimits(invokes=3), delegate="none").passed

    def _is_fault(self, layer: Layer, shift: int) -> bool:
        low, high = self._extremes[layer.outputs[0]]
        return high + shift > _HIGHEST + _LEAST_CUT or low + shift < _LOWEST - _LEAST_CUT


def replace_model(folder: Path, out: Path, content: bytes) -> None:
    """A copy of a model folder with another file for a model."""
    manifest = read_manifest(folder)
    out.mkdir(parents=True, exist_ok=True)
    path = out / manifest.model.file
    path.write_bytes(content)
    write_manifest(out, dataclasses.replace(manifest, model=describe_file(path), golden=None))


def swap_colours(folder: Path, out: Path) -> None:
    """A copy of a model folder whose model.json takes red for blue."""
    shutil.copytree(folder, out)
    manifest = read_manifest(out)
    order: Any = "bgr" if manifest.input.colour_order == "rgb" else "rgb"
    write_manifest(out, dataclasses.replace(manifest, input=dataclasses.replace(manifest.input, colour_order=order)))


def _extremes(folder: Path, content: bytes, pictures: Sequence[npt.NDArray[np.uint8]]) -> dict[int, tuple[int, int]]:
    """The lowest and the highest number of each layer's output, by tensor."""
    model, found = Model.load(folder, delegate="none"), {}
    with Kernels(opened(content)) as kernels:
        source = next(iter(kernels.inputs))
        answers = [kernels.run({source: model.preprocess(picture)}) for picture in pictures]
    model.close()
    for layer in read_layers(content):
        values = [answer[tensor_name(layer.outputs[0])] for answer in answers]
        found[layer.outputs[0]] = (int(min(map(np.min, values))), int(max(map(np.max, values))))
    return found
