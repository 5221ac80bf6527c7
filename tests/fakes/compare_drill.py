"""Plants faults in the demo's detector at random and asks the comparison where they are: for scripts/compare-drill."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeapp.vision.formats import Picture
from edgeapp.vision.model import Model
from edgeapp.workshop.compare import Request, compare
from edgeapp.workshop.demo_assets import DemoAssets
from edgeapp.workshop.pictures import some_pictures
from edgeapp.workshop.places import Here
from edgeapp.workshop.quantize import quantize_int8
from edgeapp.workshop.stages import Comparison
from tests.fakes.delegates import shim
from tests.fakes.planted_faults import Planter, replace_model, swap_colours

_SHOWN = 6  # pictures in each comparison
_FRAMES = 250
_CALIBRATION = 25


@dataclass(frozen=True, slots=True)
class Trial:
    """One planting: what was planted where, and what the comparison said."""

    fault: str
    planted: str
    headline: str
    is_right: bool
    drawn: int = 1


class Drill:
    """All trials on one detector. `scratch` is an empty folder."""

    def __init__(self, scratch: Path, assets: DemoAssets, seed: int) -> None:
        self._scratch, self._assets = scratch, assets
        self._random = np.random.default_rng(seed)
        self._frames = some_pictures(assets.video, _FRAMES)

    def wrong_zero_points(self, count: int) -> Iterator[Trial]:
        shown = self._draw()
        planter = Planter(self._assets.int8_model_dir, [picture for _, picture in shown])
        for _ in range(count):
            folder = self._scratch / "zero-point"
            planted = planter.plant(folder, self._random)
            found = self._compare(self._assets.float_model_dir, folder, shown)
            yield Trial(
                "wrong zero point",
                f"layer {planted.layer.index}, {planted.layer.operator}, {planted.shift:+d}",
                found.headline,
                _names(found, "quantization", planted.layer.index),
                planted.drawn,
            )
            shutil.rmtree(folder)

    def noisy_delegates(self, count: int) -> Iterator[Trial]:
        layers = Planter(self._assets.int8_model_dir, [self._frames[0][1]]).layers
        for _ in range(count):
            layer = layers[self._random.integers(len(layers))]
            request = Request(
                reference=self._assets.float_model_dir,
                edge=self._assets.int8_model_dir,
                delegate=shim("noise", node=layer.index),
            )
            found = compare(request, self._draw(), Here()).comparison
            yield Trial(
                "noisy delegate",
                f"layer {layer.index}, {layer.operator}",
                found.headline,
                _names(found, "compilation", layer.index),
            )

    def swapped_colours(self, count: int) -> Iterator[Trial]:
        folder = self._scratch / "swapped"
        swap_colours(self._assets.int8_model_dir, folder)
        for _ in range(count):
            found = self._compare(self._assets.float_model_dir, folder, self._draw())
            culprit = found.culprit
            is_right = culprit is not None and culprit.name == "preprocessing" and "swapped" in culprit.text
            others = [stage.answer for stage in found.stages if stage is not culprit]
            yield Trial("swapped colours", "model.json", found.headline, is_right and set(others) == {"agrees"})

    def honest_builds(self, count: int) -> Iterator[Trial]:
        """Each calibrated on other frames: compared with the float model, and with the demo's own build."""
        for number in range(count):
            folder = self._scratch / f"honest-{number}"
            self._build(folder)
            for reference in (self._assets.float_model_dir, self._assets.int8_model_dir):
                found = self._compare(reference, folder, self._draw())
                yield Trial("honest build", f"against {reference.name}", found.headline, found.headline == "Equal")

    def _build(self, folder: Path) -> None:
        path = folder.with_suffix(".tflite")
        model = Model.load(self._assets.float_model_dir)
        chosen = self._random.choice(len(self._frames), _CALIBRATION, replace=False)
        samples = [model.preprocess(self._frames[at][1]) for at in sorted(chosen)]
        float_model = self._assets.float_model_dir / model.manifest.model.file
        quantize_int8(float_model, path, samples, input_spec=model.manifest.input)
        model.close()
        replace_model(self._assets.int8_model_dir, folder, path.read_bytes())

    def _draw(self) -> list[tuple[str, Picture]]:
        chosen = self._random.choice(len(self._frames), _SHOWN, replace=False)
        return [self._frames[at] for at in sorted(chosen)]

    def _compare(self, reference: Path, edge: Path, shown: Sequence[tuple[str, Picture]]) -> Comparison:
        return compare(Request(reference=reference, edge=edge), shown, Here()).comparison


def _names(found: Comparison, stage: str, layer: int) -> bool:
    culprit = found.culprit
    return culprit is not None and culprit.name == stage and culprit.layer is not None and culprit.layer.index == layer
