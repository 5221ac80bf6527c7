"""Golden cases: inputs with the outputs that the model gave where it was made, and how far a device strays from them.

Owns the form of the file and the comparison. An .npz file, never pickled, with `input` [cases, *input shape] in the
input tensor's type and `output.ROLE` [cases, *output shape] for each role of the decoder. The inputs are preprocessed
tensors and no pictures, since resizing differs by a level between processors and versions of OpenCV.

Compared are the raw numbers, which no threshold hides, and the detections they mean. TFLite_Detection_PostProcess
sorts its rows by score, so that two near scores may change places, and leaves what it likes in the rows beyond its
count: of its outputs only the scores up to the count are compared raw.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgeapp.errors import ManifestError
from edgeapp.types import GoldenReport
from edgeapp.vision.tensor import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edgeapp.types import Detection
    from edgeapp.vision.model import Model

    Array = npt.NDArray[Any]
    Outputs = Mapping[str, Array]

INPUT = "input"
OUTPUT_PREFIX = "output."
MAX_CASES = 256
MAX_BYTES = 128 << 20  # unpacked
_MARGIN = 0.1  # a detection so much above the minimum score may not be missing on the other side
_MIN_IOU = 0.5
_FLOAT_STEPS = 255  # the span of a float output is as many steps as that of a quantized one
_WORST_STEPS = 1e9  # stands for a difference that is no number


@dataclass(frozen=True, slots=True)
class GoldenCases:
    """`inputs` [cases, *input shape], `outputs` by role, each [cases, *output shape]."""

    inputs: Array
    outputs: Outputs

    def __len__(self) -> int:
        return len(self.inputs)

    def expected(self, case: int) -> dict[str, Array]:
        """The outputs of one case by role."""
        return {role: values[case] for role, values in self.outputs.items()}


class Tensors(Protocol):
    """A model as far as golden cases must fit it."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...


def read_golden(path: Path, model: Tensors, *, by_tensor: bool = False) -> GoldenCases:
    """The cases in the file at `path`, which fit `model`.

    `by_tensor`: the outputs bear the names of their tensors, and there may be more than the decoder reads.

    Raises:
        ManifestError: the file is torn, too large, holds something else, or belongs to another model.
    """
    names = {role: f"{OUTPUT_PREFIX}{spec.name if by_tensor else role}" for role, spec in model.outputs.items()}
    wanted = {INPUT: model.input} | {name: model.outputs[role] for role, name in names.items()}
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
        if unpacked_bytes > MAX_BYTES:
            raise ManifestError(f"{path}: expected at most {MAX_BYTES} bytes unpacked, found {unpacked_bytes}")
        with np.load(path, allow_pickle=False) as arrays:
            if not set(wanted) <= set(arrays.files) or (len(arrays.files) > len(wanted) and not by_tensor):
                raise ManifestError(f"{path}: expected {sorted(wanted)}, found {sorted(arrays.files)}")
            found = {name: arrays[name] for name in wanted}
    except (OSError, ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ManifestError(f"{path}: expected golden cases in an .npz file, found: {error}") from error
    count = len(found[INPUT]) if found[INPUT].ndim else 0
    if not 1 <= count <= MAX_CASES:
        raise ManifestError(f"{path}: expected 1 to {MAX_CASES} cases, found {count}")
    for name, spec in wanted.items():
        values = found[name]
        if values.shape != (count, *spec.shape) or values.dtype != np.dtype(spec.dtype):
            raise ManifestError(
                f"{path}: {name}: expected {spec.dtype}{[count, *spec.shape]}, found {values.dtype}{list(values.shape)}"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ManifestError(f"{path}: {name}: expected finite values")
    return GoldenCases(found[INPUT], {role: found[name] for role, name in names.items()})


def compare(model: Model, cases: GoldenCases) -> GoldenReport:
    """Run `model` on all cases, and tell how far it strays.

    Raises:
        ModelError: the model fails, or an output is not finite.
    """
    is_sorted = model.manifest.output.decoder == "ssd_postprocess"
    expected_raw = [_comparable(cases.expected(case), is_sorted=is_sorted) for case in range(len(cases))]
    steps = {role: _step([raw[role] for raw in expected_raw], model.outputs[role]) for role in expected_raw[0]}
    limit = model.min_score + _MARGIN
    worst, agreeing = 0.0, 0
    for case, values in enumerate(cases.inputs):
        found, _ = model.run(values)
        agreeing += say_the_same(model.decode(cases.expected(case)), model.decode(found), limit)
        found_raw = _comparable(found, is_sorted=is_sorted)
        worst = max(worst, *(steps_apart(expected_raw[case][role], found_raw[role], steps[role]) for role in steps))
    return GoldenReport(cases=len(cases), worst_steps=worst, agreement=agreeing / len(cases))


def steps_apart(expected: Array, found: Array, step: float) -> float:
    """The largest difference of two tensors of one shape, in steps of `step` raw units."""
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return min(float(difference) / step, _WORST_STEPS) if np.isfinite(difference) else _WORST_STEPS


def without_leftovers(outputs: Outputs) -> dict[str, Array]:
    """Outputs of TFLite_Detection_PostProcess with zeros in the rows beyond its count, where it leaves what the memory
    held before: not even finite numbers, and others each time.
    """
    is_used = np.arange(outputs["scores"].shape[-1]) < outputs["count"].reshape(-1)[0]

    def tidied(values: Array) -> Array:
        return np.where(is_used.reshape(1, -1, *[1] * (values.ndim - 2)), values, values.dtype.type(0))

    return {role: values if role == "count" else tidied(values) for role, values in outputs.items()}


def say_the_same(expected: Sequence[Detection], found: Sequence[Detection], clear_score: float) -> bool:
    """Whether every clear detection of either side has its like, of any score, on the other."""
    return _are_in(expected, found, clear_score) and _are_in(found, expected, clear_score)


def _are_in(some: Sequence[Detection], others: Sequence[Detection], clear_score: float) -> bool:
    return all(
        any(other.class_index == one.class_index and one.box.iou(other.box) >= _MIN_IOU for other in others)
        for one in some
        if one.score >= clear_score
    )


def _comparable(outputs: Outputs, *, is_sorted: bool) -> Outputs:
    """The outputs of one case whose raw numbers must be alike."""
    return {"scores": without_leftovers(outputs)["scores"]} if is_sorted else outputs


def _step(expected: Sequence[Array], spec: TensorSpec) -> float:
    """One step of an output in raw units, from what is expected of it in all cases: 1 where it is quantized."""
    if spec.is_quantized:
        return 1.0
    low, high = (float(limit) for limit in (min(map(np.min, expected)), max(map(np.max, expected))))
    return max((high - low) / _FLOAT_STEPS, 1e-6 * max(1.0, abs(low), abs(high)))  # an output may be constant
