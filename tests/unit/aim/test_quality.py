"""Focus and light are measured where no mask covers the picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgeapp.aim.quality import measure
from edgeapp.config import CameraConfig
from edgeapp.vision.picture import Framing

SIZE = 240, 320


def scene() -> npt.NDArray[np.uint8]:
    """Bricks, of middling grey."""
    picture = np.full((*SIZE, 3), 110, np.uint8)
    picture[::12] = 160
    picture[:, ::24] = 160
    return picture


def blurred(picture: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.uint8]:
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.uint8)


def test_focus_falls_with_every_turn_away_from_sharp() -> None:
    scores = [measure(scene(), None)[0]] + [measure(blurred(scene(), sigma), None)[0] for sigma in (0.6, 1, 2, 4, 8)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 10 * scores[3]


def test_the_edge_of_a_mask_is_not_taken_for_sharpness() -> None:
    framing = Framing(CameraConfig(kind="video", source="v", masks=(((0.3, 0.3), (0.7, 0.3), (0.7, 0.7)),)))
    white = framing.apply(np.full((*SIZE, 3), 255, np.uint8))
    assert white.min() == 0, "the mask is black"
    assert measure(white, None)[0] > 100
    assert measure(white, framing.covered)[0] == 0


@pytest.mark.parametrize("luma", [0, 128, 255])
def test_light_is_that_of_what_is_seen(luma: int) -> None:
    framing = Framing(CameraConfig(kind="video", source="v", masks=(((0, 0), (0.5, 0), (0.5, 1), (0, 1)),)))
    picture = framing.apply(np.full((*SIZE, 3), luma, np.uint8))
    _, light = measure(picture, framing.covered)
    assert light.mean == pytest.approx(luma, abs=0.01)
    assert (light.black_pct, light.white_pct) == (100 * (luma == 0), 100 * (luma == 255))
    assert light.text


def test_a_picture_that_is_masked_all_over_is_no_trouble() -> None:
    framing = Framing(CameraConfig(kind="video", source="v", masks=(((0, 0), (1, 0), (1, 1), (0, 1)),)))
    focus, light = measure(framing.apply(scene()), framing.covered)
    assert (focus, light.mean) == (0, 0)


def test_without_masks_nothing_is_covered() -> None:
    framing = Framing(CameraConfig(kind="video", source="v"))
    framing.apply(scene())
    assert framing.covered is None
