from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import CameraConfig
from edgeapp.vision.picture import THUMBNAIL_SHAPE, Framing, Thumbnail, raw_size_for

_TURNS: dict[int, int] = {0: 0, 90: -1, 180: 2, 270: 1}  # np.rot90 turns against the clock
_SIZES = st.tuples(st.integers(8, 90), st.integers(8, 90))
_ROTATIONS = st.sampled_from([0, 90, 180, 270])
_MIRRORS = st.sampled_from(["none", "horizontal", "vertical"])


def _config(**settings: Any) -> CameraConfig:
    return CameraConfig(kind="images", source="folder", **settings)


def _noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8)


def _turned(raw: np.ndarray, rotate_deg: int, mirror: str) -> np.ndarray:
    turned = np.rot90(raw, _TURNS[rotate_deg])
    return {"none": turned, "horizontal": turned[:, ::-1], "vertical": turned[::-1]}[mirror]


@given(_SIZES, _ROTATIONS, _MIRRORS)
def test_a_picture_is_rotated_clockwise_then_mirrored(
    size: tuple[int, int], rotate_deg: Literal[0, 90, 180, 270], mirror: Literal["none", "horizontal", "vertical"]
) -> None:
    raw = _noise(*size)
    expected = _turned(raw.copy(), rotate_deg, mirror)
    assert np.array_equal(Framing(_config(rotate_deg=rotate_deg, mirror=mirror)).apply(raw), expected)


_ROUNDING = 1e-9  # of shares times pixels


@st.composite
def _crops(draw: st.DrawFn) -> tuple[float, float, float, float]:
    """x, y, width, height."""
    x, y = draw(st.floats(0, 0.7)), draw(st.floats(0, 0.7))
    return x, y, draw(st.floats(0.2, 1 - x)), draw(st.floats(0.2, 1 - y))


@given(_SIZES, _ROTATIONS, _MIRRORS, _crops())
def test_the_crop_is_a_rectangle_of_the_picture_as_the_technician_sees_it(
    size: tuple[int, int],
    rotate_deg: Literal[0, 90, 180, 270],
    mirror: Literal["none", "horizontal", "vertical"],
    crop: tuple[float, float, float, float],
) -> None:
    raw = _noise(*size)
    seen = _turned(raw.copy(), rotate_deg, mirror)
    height, width = seen.shape[:2]
    picture = Framing(_config(rotate_deg=rotate_deg, mirror=mirror, crop=crop)).apply(raw)
    left, top = int(crop[0] * width), int(crop[1] * height)
    assert np.array_equal(picture, seen[top : top + picture.shape[0], left : left + picture.shape[1]])
    assert -_ROUNDING <= picture.shape[1] - crop[2] * width < 2 + _ROUNDING
    assert -_ROUNDING <= picture.shape[0] - crop[3] * height < 2 + _ROUNDING


_TRIANGLE = ((0.3, 0.2), (0.8, 0.35), (0.45, 0.9))


def _is_inside(x: float, y: float) -> bool:
    """Whether the point lies in the triangle: on the same side of all its edges."""
    sides = [
        (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        for (ax, ay), (bx, by) in zip(_TRIANGLE, (*_TRIANGLE[1:], _TRIANGLE[0]), strict=True)
    ]
    return all(side > 0 for side in sides) or all(side < 0 for side in sides)


@given(_SIZES, _ROTATIONS, _MIRRORS, st.one_of(st.none(), _crops()))
def test_a_mask_covers_its_polygon_in_the_final_picture_and_in_the_buffer_it_came_from(
    size: tuple[int, int],
    rotate_deg: Literal[0, 90, 180, 270],
    mirror: Literal["none", "horizontal", "vertical"],
    crop: tuple[float, float, float, float] | None,
) -> None:
    raw = _noise(*size)
    before = raw.copy()
    picture = Framing(_config(rotate_deg=rotate_deg, mirror=mirror, crop=crop, masks=(_TRIANGLE,))).apply(raw)
    height, width = picture.shape[:2]
    inside = np.array(
        [[_is_inside((x + 0.5) / width, (y + 0.5) / height) for x in range(width)] for y in range(height)]
    )
    black = (picture == 0).all(axis=-1)
    assert black[inside].all(), "a pixel of the polygon is to be seen"
    # The noise holds no zero, so what is black now was painted: the retrieved buffer has no copy of what was there.
    assert np.count_nonzero((raw == 0).all(axis=-1)) == np.count_nonzero(black)
    assert np.array_equal(raw[raw != 0], before[raw != 0])


def test_a_mask_spares_what_is_farther_than_two_pixels_from_it() -> None:
    square = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    picture = Framing(_config(masks=(square,))).apply(_noise(80, 60))
    black = (picture == 0).all(axis=-1)
    rows, columns = np.nonzero(black)
    assert 13 <= rows.min() <= 15
    assert 44 <= rows.max() <= 46
    assert 18 <= columns.min() <= 20
    assert 59 <= columns.max() <= 61


def test_several_masks_are_all_painted_and_the_visible_share_is_known() -> None:
    left = ((0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0))
    right = ((0.75, 0.0), (1.0, 0.0), (1.0, 1.0), (0.75, 1.0))
    framing = Framing(_config(masks=(left, right)))
    picture = framing.apply(_noise(200, 100))
    assert (picture[:, :50] == 0).all()
    assert (picture[:, 150:] == 0).all()
    assert picture[:, 60:140].all()
    assert framing.visible_share == pytest.approx(0.5, abs=0.03)


def test_where_nothing_is_configured_the_picture_is_the_buffer_itself() -> None:
    raw = _noise(64, 48)
    assert Framing(_config()).apply(raw) is raw


def test_a_crop_alone_copies_nothing() -> None:
    raw = _noise(64, 48)
    assert np.shares_memory(Framing(_config(crop=(0.1, 0.1, 0.8, 0.8))).apply(raw), raw)


def test_a_source_that_changes_its_size_is_framed_anew() -> None:
    framing = Framing(_config(rotate_deg=90, masks=(_TRIANGLE,)))
    for width, height in ((64, 48), (32, 24), (64, 48)):
        picture = framing.apply(_noise(width, height))
        assert picture.shape == (width, height, 3)
        assert (picture[round(width * 0.45), round(height * 0.5)] == 0).all()


@given(_SIZES, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e-3))
def test_a_crop_of_almost_nothing_still_leaves_a_pixel(size: tuple[int, int], x: float, y: float, share: float) -> None:
    picture = Framing(_config(crop=(x, y, share, share))).apply(_noise(*size))
    assert min(picture.shape[:2]) >= 1


@given(_ROTATIONS, _crops(), st.tuples(st.integers(20, 300), st.integers(20, 300)))
def test_a_source_of_the_least_size_leaves_the_model_what_it_needs(
    rotate_deg: Literal[0, 90, 180, 270], crop: tuple[float, float, float, float], needed: tuple[int, int]
) -> None:
    config = _config(rotate_deg=rotate_deg, crop=crop)
    width, height = raw_size_for(config, needed)
    picture = Framing(config).apply(np.zeros((height, width, 3), np.uint8))
    assert picture.shape[1] >= needed[0]
    assert picture.shape[0] >= needed[1]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (1280, 720), (96, 96)])
def test_a_thumbnail_is_the_luma_of_the_picture_in_small(width: int, height: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, width // 2 :] = (50, 100, 200)
    luma = Thumbnail().of(picture)
    assert luma.shape == THUMBNAIL_SHAPE
    assert luma.dtype == np.uint8
    assert (luma[:, :75] == 0).all()
    assert np.abs(luma[:, 85:].astype(float) - (0.114 * 50 + 0.587 * 100 + 0.299 * 200)).max() <= 1


def test_a_thumbnail_of_a_cropped_view_is_that_of_the_crop() -> None:
    raw = _noise(640, 480)
    view = Framing(_config(crop=(0.25, 0.25, 0.5, 0.5))).apply(raw)
    assert np.array_equal(Thumbnail().of(view), Thumbnail().of(view.copy()))
