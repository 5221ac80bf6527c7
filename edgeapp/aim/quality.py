"""Measures focus and light of a picture where no mask covers it. Sees pixels; `sight.py` alone imports it.

Focus is the variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a
comparative study", 2000): the sharper, the larger. It has no unit and depends on the scene, so it says only which of
two moments was sharper. A mask's own edge would be the sharpest thing of all, so a rim around it does not count.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.aim.look import Light, light_text
from edgeapp.vision.formats import Picture

_BLACK_LUMA, _WHITE_LUMA = 5, 251  # below, and from
_RIM_PX = 4


def measure(picture: Picture, covered: npt.NDArray[np.uint8] | None) -> tuple[float, Light]:
    """Focus and light of `picture` (uint8 [height, width, 3], BGR); `covered` is 255 where a mask is."""
    luma = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    visible = None if covered is None else cv2.bitwise_not(covered)
    counts = cv2.calcHist([luma], [0], visible, [256], [0, 256]).ravel()
    total = max(float(counts.sum()), 1.0)
    light = Light(
        mean=float(counts @ np.arange(256)) / total,
        black_pct=100.0 * float(counts[:_BLACK_LUMA].sum()) / total,
        white_pct=100.0 * float(counts[_WHITE_LUMA:].sum()) / total,
    )
    light = dataclasses.replace(light, text=light_text(light))
    if visible is not None:
        visible = cv2.erode(visible, np.ones((2 * _RIM_PX + 1, 2 * _RIM_PX + 1), np.uint8))
    _, deviation = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S), mask=visible)
    return float(deviation[0, 0]) ** 2, light
