"""Preprocessing against a slow reference in plain floating point."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.errors import CaptureError, ManifestError, ModelError
from edgeapp.manifest import InputSpec
from edgeapp.vision.boxes import Placement
from edgeapp.vision.preprocess import Preprocessor, fit_letterbox, make_table
from edgeapp.vision.tensor import TensorSpec

QUANTIZATIONS = {
    "float32": (0.0, 0),
    "int8": (1 / 255, -128),
    "uint8": (1 / 255, 0),
}


def make_picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth enough that interpolating it means something, with all levels and no two channels alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def tensor_of(spec: InputSpec, dtype: str, scale: float, zero_point: int) -> TensorSpec:
    channels = 1 if spec.colour_order == "gray" else 3
    return TensorSpec("image", (1, spec.height, spec.width, channels), dtype, scale, zero_point)


def resize_slowly(picture: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[np.float64]:
    """Bilinear, with pixel centres at half-integers."""
    result = picture.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        length = result.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        shape = [1, 1, 1]
        shape[axis] = size
        share = (at - low).reshape(shape)
        high = np.minimum(low + 1, length - 1)
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return result


def reference(spec: InputSpec, tensor: TensorSpec, picture: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    pixels = np.full((spec.height, spec.width, 3), 114.0)
    left, top, width, height = 0, 0, spec.width, spec.height
    if spec.resize == "letterbox":
        share = min(spec.width / picture.shape[1], spec.height / picture.shape[0])
        width, height = round(picture.shape[1] * share), round(picture.shape[0] * share)
        left, top = (spec.width - width) // 2, (spec.height - height) // 2
    pixels[top : top + height, left : left + width] = resize_slowly(picture, width, height)
    if spec.colour_order == "rgb":
        pixels = pixels[..., ::-1]
    if spec.colour_order == "gray":
        pixels = pixels @ np.array([[0.114], [0.587], [0.299]])
    return quantize(spec, tensor, pixels)[None]


def fill(
    preprocessor: Preprocessor, tensor: TensorSpec, picture: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[Any], Placement]:
    values = np.full(tensor.shape, 99, tensor.dtype)
    placement = preprocessor.fit(picture)
    preprocessor.fill(picture, values)
    return values, placement


def quantize(spec: InputSpec, tensor: TensorSpec, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    real = (pixels - np.array(spec.mean)) / np.array(spec.std)
    if not tensor.is_quantized:
        return np.asarray(real)
    limits = np.iinfo(tensor.dtype)
    return np.asarray(np.clip(np.round(real / tensor.scale) + tensor.zero_point, limits.min, limits.max))


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("colour_order", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
@pytest.mark.parametrize("size", [(48, 64), (64, 48), (31, 17), (24, 32)])
def test_tensor_is_within_one_step_of_the_reference(
    resize: Any, colour_order: Any, dtype: str, size: tuple[int, int]
) -> None:
    spec = InputSpec(width=32, height=24, colour_order=colour_order, resize=resize)
    tensor = tensor_of(spec, dtype, *QUANTIZATIONS[dtype])
    picture = make_picture(*size)
    values, _ = fill(Preprocessor(spec, tensor), tensor, picture)
    assert values.dtype == dtype
    assert values.shape == tensor.shape
    # One level of the picture is one step of these tensors. Grey is rounded twice, which float32 lets through.
    levels = 1.5 if colour_order == "gray" and dtype == "float32" else 1
    step = levels / 255 + 1e-6 if dtype == "float32" else levels
    assert np.abs(values.astype(np.float64) - reference(spec, tensor, picture)).max() <= step


@pytest.mark.parametrize("colour_order", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"), [("int8", 0.0071403738, 4), ("uint8", 0.0078125, 128), ("float32", 0.0, 0)]
)
def test_each_channel_has_its_own_mean_and_std(colour_order: Any, dtype: str, scale: float, zero_point: int) -> None:
    spec = InputSpec(
        width=32, height=24, colour_order=colour_order, mean=(120.0, 110.0, 100.0), std=(120.0, 130.0, 140.0)
    )
    tensor = tensor_of(spec, dtype, scale, zero_point)
    picture = make_picture(24, 32)  # of the input's size: nothing is interpolated
    values, _ = fill(Preprocessor(spec, tensor), tensor, picture)
    ordered = picture[..., ::-1] if colour_order == "rgb" else picture
    expected = quantize(spec, tensor, ordered)[None]
    if dtype == "float32":
        assert values == pytest.approx(expected, abs=1e-6)
    else:
        assert (values == expected).all()


@given(
    dtype=st.sampled_from(["int8", "uint8"]),
    scale=st.floats(1e-4, 2.0),
    zero_point=st.integers(-128, 255),
    mean=st.floats(0, 255),
    std=st.floats(0.5, 255),
)
def test_table_is_the_formula_rounded_to_even(
    dtype: str, scale: float, zero_point: int, mean: float, std: float
) -> None:
    spec = InputSpec(width=8, height=8, mean=(mean,), std=(std,))
    tensor = tensor_of(spec, dtype, scale, max(min(zero_point, int(np.iinfo(dtype).max)), int(np.iinfo(dtype).min)))
    table = make_table(spec, tensor, 3)
    assert (table.view(dtype) == quantize(spec, tensor, np.arange(256))).all()


def test_ties_are_rounded_to_even() -> None:
    spec = InputSpec(width=8, height=8, std=(1.0,))
    table = make_table(spec, tensor_of(spec, "uint8", 2.0, 0), 3)
    assert table[:8].tolist() == [0, 0, 1, 2, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("dtype", "zero_point", "expected"), [("int8", -128, "shift"), ("uint8", 0, "plain"), ("int8", -127, "table")]
)
def test_common_quantizations_take_the_short_way(dtype: str, zero_point: int, expected: str) -> None:
    spec = InputSpec(width=8, height=8)
    preprocessor = Preprocessor(spec, tensor_of(spec, dtype, 1 / 255, zero_point))
    taken = "shift" if preprocessor._is_shift else "plain" if preprocessor._is_plain else "table"
    assert taken == expected


@pytest.mark.parametrize("colour_order", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_bars_stay_grey_picture_after_picture(colour_order: Any, dtype: str) -> None:
    spec = InputSpec(width=32, height=32, colour_order=colour_order, resize="letterbox")
    tensor = tensor_of(spec, dtype, *QUANTIZATIONS[dtype])
    preprocessor = Preprocessor(spec, tensor)
    grey = quantize(spec, tensor, np.array([114]))[0]
    for height, width in ((32, 64), (32, 64), (64, 32), (32, 64)):  # the camera turns, and turns back
        values, placement = fill(preprocessor, tensor, make_picture(height, width))
        bars = values[0, :8] if width > height else values[0, :, :8]
        inside = values[0, 8:24] if width > height else values[0, :, 8:24]
        assert bars == pytest.approx(np.full(bars.shape, grey))
        assert inside.min() < inside.max()
        across = Placement(offset_y=0.25, scale_y=0.5)
        assert placement == (across if width > height else Placement(offset_x=0.25, scale_x=0.5))


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(8, 640), st.integers(8, 640))
def test_letterboxed_picture_lies_within_the_input_and_touches_two_sides(
    width: int, height: int, target_width: int, target_height: int
) -> None:
    placement, (left, top, inner_width, inner_height) = fit_letterbox((width, height), (target_width, target_height))
    assert 0 <= left <= target_width - inner_width
    assert 0 <= top <= target_height - inner_height
    assert inner_width == target_width or inner_height == target_height
    assert placement.offset_x * target_width == pytest.approx(left)
    assert placement.scale_y * target_height == pytest.approx(inner_height)


@pytest.mark.parametrize("colour_order", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize("zero_point", [-128, -127])
def test_the_runtimes_own_memory_is_filled(colour_order: Any, zero_point: int) -> None:
    spec = InputSpec(width=32, height=24, colour_order=colour_order)
    tensor = tensor_of(spec, "int8", 1 / 255, zero_point)
    preprocessor, memory = Preprocessor(spec, tensor), np.zeros(tensor.shape, np.int8)
    for picture, expected in ((np.zeros((48, 64, 3), np.uint8), zero_point), (np.full((48, 64, 3), 255), 127)):
        preprocessor.fit(picture.astype(np.uint8))
        preprocessor.fill(picture.astype(np.uint8), memory)
        assert (memory == expected).all()


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 4), (0, 64, 3)])
def test_picture_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    spec = InputSpec(width=32, height=24)
    preprocessor = Preprocessor(spec, tensor_of(spec, "uint8", 1 / 255, 0))
    with pytest.raises(CaptureError, match=r"expected \[height, width, 3\]"):
        preprocessor.fit(np.zeros(shape, np.uint8))


def test_picture_of_another_type_is_refused() -> None:
    spec = InputSpec(width=32, height=24)
    preprocessor = Preprocessor(spec, tensor_of(spec, "uint8", 1 / 255, 0))
    with pytest.raises(CaptureError, match="expected uint8, found float32"):
        preprocessor.fit(np.zeros((48, 64, 3), np.float32))


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (
            TensorSpec("image", (1, 24, 32, 1), "uint8", 1.0, 0),
            r"expected shape \[1, 24, 32, 3\].*found \[1, 24, 32, 1\]",
        ),
        (TensorSpec("image", (1, 3, 24, 32), "uint8", 1.0, 0), "expected shape"),
        (TensorSpec("image", (1, 24, 32, 3), "int16", 1.0, 0), "found int16"),
        (TensorSpec("image", (1, 24, 32, 3), "int8", 0.0, 0), "expected a quantization scale above 0"),
    ],
)
def test_tensor_that_breaks_the_manifests_promise_is_refused(tensor: TensorSpec, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        Preprocessor(InputSpec(width=32, height=24), tensor)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"mean": (1.0, 2.0)}, "input.mean: expected 1 or 3 values, found 2"),
        ({"std": (1.0, 0.0, 1.0)}, "input.std: expected values above 0"),
        ({"mean": (float("nan"),)}, "input.mean: expected finite"),
        ({"colour_order": "gray", "mean": (1.0, 2.0, 3.0)}, "input.mean: expected 1 values, found 3"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], match: str) -> None:
    spec = InputSpec(width=32, height=24, **changes)
    with pytest.raises(ManifestError, match=match):
        Preprocessor(spec, tensor_of(spec, "uint8", 1 / 255, 0))
