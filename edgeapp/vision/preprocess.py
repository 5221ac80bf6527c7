"""A picture to the input tensor, without allocating: resize, colour order, quantization.

Owns the buffers that a frame passes through on its way; the tensor itself is the runtime's. Resizes first, since the
network's input is smaller than the picture, and bilinear as it costs a tenth of area averaging. The 256 possible pixels
are looked up in a table made once, so that the tensor holds exactly round((pixel - mean) / std / scale) + zero point,
ties to even; where that table is a shift by 128, as for most int8 models, an exclusive-or does it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeapp.errors import CaptureError, ManifestError, ModelError
from edgeapp.vision.boxes import Placement
from edgeapp.vision.tensor import KNOWN_DTYPES, TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeapp.manifest import InputSpec

_GREY = 114  # the bars of a letterboxed picture, as YOLO models are trained with
_PIXELS = np.arange(256)
_CONVERSIONS = {"rgb": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_BGR2GRAY}


class Preprocessor:
    """Fills input tensors of one shape, picture after picture."""

    def __init__(self, spec: InputSpec, tensor: TensorSpec) -> None:
        """For `tensor` [1, height, width, channels] of int8, uint8 or float32.

        Raises:
            ModelError: the tensor is not what `spec` promises.
            ManifestError: `spec` contradicts itself.
        """
        channels = 1 if spec.colour_order == "gray" else 3
        _check(spec, tensor, channels)
        self._size = (spec.width, spec.height)
        self._is_letterbox = spec.resize == "letterbox"
        self._is_grey = channels == 1
        self._conversion = _CONVERSIONS.get(spec.colour_order)
        self._table = make_table(spec, tensor, channels)
        self._is_plain, self._is_shift = _shortcuts(self._table)
        self._resized = np.empty((spec.height, spec.width, 3), np.uint8)
        # OpenCV knows a grey picture as [height, width].
        shape = (spec.height, spec.width) if self._is_grey else self._resized.shape
        self._coloured = None if self._is_plain or self._is_shift else np.empty(shape, np.uint8)
        self._inside = self._resized
        self._picture_shape: tuple[int, ...] = ()
        self._placement = Placement()

    def fit(self, picture: npt.NDArray[np.uint8]) -> Placement:
        """Make ready for `picture` (uint8 [height, width, 3], BGR); says where in the input it will lie.

        Raises:
            CaptureError: `picture` has another shape or type.
        """
        if picture.shape != self._picture_shape:
            self._fit(picture.shape)
        if picture.dtype != np.uint8:
            raise CaptureError(f"picture: expected uint8, found {picture.dtype}")
        return self._placement

    def fill(self, picture: npt.NDArray[np.uint8], tensor: npt.NDArray[Any]) -> None:
        """Write the input of a picture that was fitted into `tensor`, an array of the input tensor's shape and type.

        Best the runtime's own memory: each array less that a frame passes through is one less to fetch anew, since
        an invoke leaves none of them in the processor's cache.
        """
        # OpenCV fills a buffer that fits, else it makes a new array; all of these fit.
        cv2.resize(picture, self._inside.shape[1::-1], dst=self._inside, interpolation=cv2.INTER_LINEAR)
        target = tensor[0, :, :, 0] if self._is_grey else tensor[0]
        if tensor.dtype == np.int8:
            target = target.view(np.uint8)
        pixels: npt.NDArray[Any] = self._resized
        if self._conversion is not None:
            pixels = target if self._coloured is None else self._coloured
            cv2.cvtColor(self._resized, self._conversion, dst=pixels)
        if self._is_shift:
            np.bitwise_xor(pixels, 0x80, out=target)
        elif not self._is_plain:
            cv2.LUT(pixels, self._table, dst=target)
        elif pixels is not target:
            np.copyto(target, pixels)

    def _fit(self, shape: tuple[int, ...]) -> None:
        """Make ready for pictures of another size; a camera that was opened anew may give them."""
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise CaptureError(f"picture: expected [height, width, 3], found {list(shape)}")
        if self._is_letterbox:
            self._placement, (left, top, width, height) = fit_letterbox((shape[1], shape[0]), self._size)
            self._resized[:] = _GREY
            self._inside = self._resized[top : top + height, left : left + width]
        self._picture_shape = shape


def fit_letterbox(picture: tuple[int, int], target: tuple[int, int]) -> tuple[Placement, tuple[int, int, int, int]]:
    """Where a picture (width, height) lies, centred and undistorted, in a target (width, height).

    Gives the placement in shares, and left, top, width, height in the target's pixels.
    """
    scale = min(target[0] / picture[0], target[1] / picture[1])
    width = min(max(round(picture[0] * scale), 1), target[0])
    height = min(max(round(picture[1] * scale), 1), target[1])
    left, top = (target[0] - width) // 2, (target[1] - height) // 2
    placement = Placement(
        offset_x=left / target[0], offset_y=top / target[1], scale_x=width / target[0], scale_y=height / target[1]
    )
    return placement, (left, top, width, height)


def make_table(spec: InputSpec, tensor: TensorSpec, channels: int) -> npt.NDArray[Any]:
    """What each pixel value becomes in the tensor: [256], or [1, 256, channels] where the channels differ.

    float32, or for a quantized tensor the bytes as uint8, which is what OpenCV's look-up writes.
    """
    mean, std = (np.array(_per_channel(values, channels)) for values in (spec.mean, spec.std))
    reals = (_PIXELS[:, None] - mean) / std
    if tensor.is_quantized:
        limits = np.iinfo(tensor.dtype)
        numbers = np.clip(np.round(reals / tensor.scale) + tensor.zero_point, limits.min, limits.max)
        table: npt.NDArray[Any] = numbers.astype(tensor.dtype).view(np.uint8)
    else:
        table = reals.astype(np.float32)
    if (table == table[:, :1]).all():
        return np.ascontiguousarray(table[:, 0])
    return np.ascontiguousarray(table[None])


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _shortcuts(table: npt.NDArray[Any]) -> tuple[bool, bool]:
    """Does the table leave every pixel as it is; does it flip just the highest bit (pixel - 128 as int8)?"""
    if table.dtype != np.uint8 or table.ndim != 1:
        return False, False
    return bool((table == _PIXELS).all()), bool((table == (_PIXELS ^ 0x80)).all())


def _check(spec: InputSpec, tensor: TensorSpec, channels: int) -> None:
    expected = (1, spec.height, spec.width, channels)
    if tensor.shape != expected:
        raise ModelError(
            f"input {tensor}: expected shape {list(expected)} as model.json says, found {list(tensor.shape)}"
        )
    if tensor.dtype not in KNOWN_DTYPES:
        raise ModelError(f"input {tensor}: expected {', '.join(KNOWN_DTYPES)}, found {tensor.dtype}")
    if tensor.is_quantized and not (math.isfinite(tensor.scale) and tensor.scale > 0):
        raise ModelError(f"input {tensor}: expected a quantization scale above 0, found {tensor.scale}")
    wanted = "1 or 3" if channels == 3 else "1"
    for name, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (1, channels):
            raise ManifestError(f"model.json: input.{name}: expected {wanted} values, found {len(values)}")
        if not all(math.isfinite(value) for value in values):
            raise ManifestError(f"model.json: input.{name}: expected finite values, found {values}")
    if min(spec.std) <= 0:
        raise ManifestError(f"model.json: input.std: expected values above 0, found {spec.std}")
