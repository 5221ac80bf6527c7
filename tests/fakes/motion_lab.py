"""What the motion gate costs in counts and spares in inferences, on rendered scenes whose truth is known.

A scene of `scene.py` is drawn as a camera would see it (a textured ground, people of their own brightness, sensor
noise, slow light), the real thumbnail and the real gate decide, and the tracker is told what vision would tell it: the
last detections wherever the gate stayed shut.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeapp.config import MotionConfig
from edgeapp.types import Detection, Prediction
from edgeapp.vision.motion import MotionGate
from edgeapp.vision.picture import Thumbnail
from tests.fakes.scene import Scene, SceneFrame
from tests.fakes.tracking_lab import FAMILIES, Run, play

_WIDTH, _HEIGHT = 320, 240
_NOISE = 4.0  # levels: a cheap sensor indoors
_LIGHT_S = 60.0  # a cloud passes

Picture = npt.NDArray[np.uint8]


class Painter:
    """Draws scene frames: uint8 [240, 320, 3]."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        coarse = self._random.integers(60, 180, (_HEIGHT // 8, _WIDTH // 8))
        self._ground = np.kron(coarse, np.ones((8, 8))).astype(np.float32)

    def paint(self, frame: SceneFrame) -> Picture:
        luma = self._ground.copy()
        for who, box in sorted(frame.visible.items(), key=lambda item: item[1].y_max):
            rows = slice(round(box.y_min * _HEIGHT), round(box.y_max * _HEIGHT))
            columns = slice(max(0, round(box.x_min * _WIDTH)), max(0, round(box.x_max * _WIDTH)))
            luma[rows, columns] = 20 + who * 67 % 220
        at_s = frame.prediction.captured_ns / 1e9
        luma *= 1 + 0.1 * np.sin(2 * np.pi * at_s / _LIGHT_S)
        luma += self._random.normal(0, _NOISE, luma.shape)
        return np.repeat(np.clip(luma, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


class GatedVision:
    """What control hears of a scene when the gate is at work."""

    def __init__(self, config: MotionConfig, seed: int) -> None:
        self._painter, self._thumbnail, self._gate = Painter(seed), Thumbnail(), MotionGate(config)
        self._last: tuple[Detection, ...] = ()
        self.frames = self.inferred = 0

    def predict(self, frame: SceneFrame) -> Prediction:
        self.frames += 1
        prediction = frame.prediction
        if self._gate.is_changed(self._thumbnail.of(self._painter.paint(frame)), prediction.captured_ns):
            self.inferred += 1
            self._last = prediction.detections
            return prediction
        return replace(prediction, invoke_ms=None, detections=self._last)


@dataclass(frozen=True, slots=True)
class GateScore:
    """One family with and without the gate. Errors are sums of absolute errors over the true sum, in %."""

    name: str
    inferred_pct: float
    entered_error_pct: float
    entered_error_without_pct: float
    crossings_error_pct: float
    crossings_error_without_pct: float


def score(name: str, fps: float, seeds: range, config: MotionConfig) -> GateScore:
    """Play the family's scenes with these seeds, each once with the gate and once without."""
    gated, plain, frames, inferred = [], [], 0, 0
    for seed in seeds:
        scene: Scene = FAMILIES[name](seed)
        vision = GatedVision(config, seed)
        gated.append(play(scene, fps, seed, through=vision.predict))
        plain.append(play(scene, fps, seed))
        frames += vision.frames
        inferred += vision.inferred
    entered, entered_without = _entered_error_pct(gated), _entered_error_pct(plain)
    crossings, crossings_without = _crossings_error_pct(gated), _crossings_error_pct(plain)
    return GateScore(name, 100 * inferred / frames, entered, entered_without, crossings, crossings_without)


def _entered_error_pct(runs: list[Run]) -> float:
    return 100 * sum(run.entered_error for run in runs) / sum(run.truth.entered for run in runs)


def _crossings_error_pct(runs: list[Run]) -> float:
    return 100 * sum(run.crossings_error for run in runs) / sum(run.truth.forward + run.truth.backward for run in runs)
