"""Which pictures calibrate a model and which judge it, and reading them: none does both.

Owns the choice, the hash of the calibration pictures, and the histogram of their pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError
from edgeapp.manifest import Manifest
from edgeapp.measure.frames import Key, pictures
from edgeapp.system.files import sha256_of
from edgeapp.vision.formats import Picture
from edgeapp.vision.preprocess import Preprocessor
from edgeapp.vision.tensor import TensorSpec
from edgeapp.workshop.calibration import LEVELS

Sample = npt.NDArray[np.float32]
_THINNED = 4  # of the pixels, every fourth in each direction counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The pictures that calibrate, and those that judge."""

    calibration: tuple[Key, ...]
    evaluation: tuple[Key, ...]


def choose(
    calibration: Sequence[Key],
    evaluation: Sequence[Key] | None,
    labelled: Collection[Key] | None,
    samples: int,
    most: int,
) -> Choice:
    """Spread evenly over what there is: at most `samples` to calibrate with, and all labelled ones to judge by, or at
    most `most` where there are no labels.

    `evaluation`: None where the same pictures serve for both. Then at most half of them calibrate, unlabelled ones if
    there are enough, and what calibrates does not judge.

    Raises:
        ValueError: nothing is left for one of the two.
    """
    if evaluation is None:
        samples = min(samples, len(calibration) // 2)
    free = [key for key in calibration if labelled is None or evaluation is not None or key not in labelled]
    chosen = spread(free if len(free) >= samples else calibration, samples)
    taken = set(chosen) if evaluation is None else set()
    rest = [key for key in (calibration if evaluation is None else evaluation) if key not in taken]
    judged = tuple(key for key in rest if key in labelled) if labelled is not None else spread(rest, most)
    if not chosen or not judged:
        raise ValueError(f"{len(chosen)} pictures to calibrate with and {len(judged)} to judge by")
    return Choice(calibration=chosen, evaluation=judged)


def spread(keys: Sequence[Key], most: int) -> tuple[Key, ...]:
    """At most so many of them, evenly spread."""
    count = min(most, len(keys))
    return tuple(keys[(2 * index + 1) * len(keys) // (2 * count)] for index in range(count))


def keys_of(frames: Path, manifest: Manifest) -> tuple[Key, ...]:
    """The names of all pictures.

    Raises:
        CaptureError: they cannot be read.
        ConvertError: there are none.
    """
    keys = tuple(key for key, _ in pictures(frames, _size(manifest)))
    if not keys:
        raise ConvertError(f"{frames}: expected a video or a folder of pictures, found no picture in it")
    return keys


def chosen_pictures(frames: Path, keys: Collection[Key], manifest: Manifest) -> Iterator[tuple[Key, Picture]]:
    """Those pictures, in their order."""
    wanted = set(keys)
    for key, picture in pictures(frames, _size(manifest)):
        if key in wanted:
            yield key, picture
            wanted.remove(key)
        if not wanted:
            return


@dataclass(slots=True)
class Prepared:
    """Inputs of the float model, real values [1, height, width, channels], and how often each pixel level occurs."""

    inputs: list[Sample] = field(default_factory=list)
    levels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(LEVELS, np.int64))


def prepare(frames: Path, keys: Collection[Key], manifest: Manifest) -> Prepared:
    """The pictures as the device would prepare them for the float model."""
    spec, prepared = manifest.input, Prepared()
    channels = 1 if spec.colour_order == "gray" else 3
    tensor = TensorSpec("input", (1, spec.height, spec.width, channels), "float32")
    preprocessor = Preprocessor(spec, tensor)
    for _, picture in chosen_pictures(frames, keys, manifest):
        values = np.empty(tensor.shape, np.float32)
        preprocessor.fit(picture)
        preprocessor.fill(picture, values)
        prepared.inputs.append(values)
        prepared.levels += np.bincount(picture[::_THINNED, ::_THINNED].ravel(), minlength=LEVELS)
    return prepared


def calibration_sha256(frames: Path, keys: Sequence[Key]) -> str:
    """A hash of the calibration pictures: of lines `SHA256 NAME` for files, of a video's hash and the frame numbers."""
    if frames.is_dir():
        lines = [f"{sha256_of(frames / str(key))} {key}" for key in keys]
    else:
        lines = [sha256_of(frames), *map(str, keys)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _size(manifest: Manifest) -> tuple[int, int]:
    return manifest.input.width, manifest.input.height
