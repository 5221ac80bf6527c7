"""Whether a converted model answers as its original: outputs found again, whatever their names and layout; pure.

Converters rename outputs, change their order, and put channels last. So an output of the original belongs to the one of
the converted model that it fits in shape, as it is or with its channels last; of several to the one it differs from
least. Where the conversion is right that difference is next to nothing, so the pairing is too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError

Array = npt.NDArray[Any]
STEPS = 255  # over the span of an output, as int8 would have
MOST_STEPS = 1.0
_CHANNELS = 2  # the axis in [cases, batch, channels, height, width]


@dataclass(frozen=True, slots=True)
class Pair:
    """An output of the converted model and what the original gave for it, in its layout [cases, *shape].

    `steps`: how far they differ at most, of 255 over the span of the original's values.
    """

    name: str
    original: str
    expected: Array
    steps: float


def fitted(values: Array, shape: tuple[int, ...]) -> Array | None:
    """`values` [cases, *of the original] in the layout of a tensor of this shape; None where they fit in none."""
    if values.shape[1:] == shape:
        return values
    if values.ndim > _CHANNELS + 1:
        moved = np.moveaxis(values, _CHANNELS, -1)
        if moved.shape[1:] == shape:
            return moved
    return None


def pair(originals: Mapping[str, Array], found: Mapping[str, Array]) -> tuple[Pair, ...]:
    """Each output of the converted model with the original's that it comes nearest to.

    Raises:
        ConvertError: their numbers or shapes differ.
    """
    left, pairs = dict(originals), []
    for name, values in found.items():
        fits = {each: fitted(given, values.shape[1:]) for each, given in left.items()}
        near = {each: _steps(expected, values) for each, expected in fits.items() if expected is not None}
        if not near:
            break
        best = min(near, key=lambda each: (near[each], each != name))
        expected = fits[best]
        assert expected is not None, "only what fits was compared"
        pairs.append(Pair(name, best, expected, near[best]))
        del left[best]
    if left or len(pairs) < len(found):
        raise ConvertError(f"expected the outputs of the original, {_shapes(originals)}, found {_shapes(found)}")
    return tuple(pairs)


def _steps(expected: Array, found: Array) -> float:
    span = float(expected.max() - expected.min())
    difference = np.abs(found.astype(np.float64) - expected)
    worst = float(np.nan_to_num(difference, nan=np.inf).max())
    return worst / max(span / STEPS, 1e-6 * max(1.0, float(np.abs(expected).max())))


def _shapes(outputs: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {list(values.shape[1:])}" for name, values in outputs.items())
