"""What a tensor of the model is, and how its numbers become real ones, pure.

Owns the description of a tensor and the affine quantization of TFLite: real = (quantized - zero point) * scale, one
scale and zero point for the whole tensor (https://ai.google.dev/edge/litert/models/quantization_spec). Only weights
are quantized per channel, and weights never leave the runtime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

QUANTIZED_DTYPES = ("int8", "uint8")
KNOWN_DTYPES = (*QUANTIZED_DTYPES, "float32")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor. `dtype` is NumPy's name; `scale` and `zero_point` mean nothing for float32.

    `index` is the runtime's handle for the tensor, of no meaning elsewhere.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0
    index: int = -1

    @property
    def is_quantized(self) -> bool:
        return self.dtype in QUANTIZED_DTYPES

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)} {self.name!r}"


def dequantize(values: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[np.float64]:
    """The real values of some of a tensor's numbers: same shape, float64."""
    reals: npt.NDArray[np.float64] = values.astype(np.float64)
    if spec.is_quantized:
        reals -= spec.zero_point
        reals *= spec.scale
    return reals


def every_real_value(spec: TensorSpec) -> npt.NDArray[np.float64]:
    """All 256 values that a quantized tensor can say, float64 [256], in the order of the quantized numbers."""
    return dequantize(np.arange(256) + lowest(spec), spec)


def lowest(spec: TensorSpec) -> int:
    """The lowest quantized number: -128 for int8, 0 for uint8."""
    return -128 if spec.dtype == "int8" else 0
