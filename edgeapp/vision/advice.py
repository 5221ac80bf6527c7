"""What a person should know of a model on this device, and what to do about it; pure.

The one place that makes these sentences: they go to the journal when a model starts, to `edgeapp status` and to
`edgeapp doctor`.
"""

from __future__ import annotations

from typing import Literal

from edgeapp.types import Advice, DelegateReport

Weights = Literal["float", "int8", "uint8", "dynamic", "unknown"]
_QUANTIZE = "take a model quantized to int8 per channel, with a calibration set"


def advice(
    report: DelegateReport, weights: Weights, *, is_delegate_wanted: bool, userland_bits: int
) -> tuple[Advice, ...]:
    """None where all is well. `weights` is what the weighted operators compute with; see `tflite.weights_kind`."""
    found = []
    if report.fell_back:
        found.append(
            Advice(
                f"XNNPACK runs in place of the delegate library {report.fell_back}",
                "correct inference.delegate and restart, or set it to auto",
            )
        )
    if weights == "uint8":
        found.append(
            Advice(
                "the model is quantized per tensor as uint8, the scheme of before 2019: int8 per channel is more exact "
                "and, on a Pi 5, faster",
                _QUANTIZE,
            )
        )
    if weights == "dynamic":
        found.append(
            Advice(
                "the model has int8 weights but computes in float (dynamic range), which is slower than either",
                _QUANTIZE,
            )
        )
    if is_delegate_wanted and weights in ("int8", "uint8") and report.nodes and not report.delegated:
        found.append(
            Advice(
                f"no delegate took any of the {report.nodes} operators of this {weights} model: "
                f"expect several times the time for each frame",
                "do what the line `runtime` of edgeapp doctor says; if it is ok, this model's operators are to blame",
            )
        )
    if userland_bits < 64:
        found.append(
            Advice(
                f"this system has {userland_bits} bit: the newer runtime, whose XNNPACK takes int8, is for 64 bit only",
                "install the 64-bit system",
            )
        )
    return tuple(found)
