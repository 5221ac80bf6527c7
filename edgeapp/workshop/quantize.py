"""A float32 .tflite file becomes an int8 one: per channel, static, with int8 input and outputs.

Owns the calibration: what the ranges of the activations are taken from, and how. The arithmetic of quantization is
litert-quantizer's; which samples are typical is the caller's. Calibrated once, a model can be written as int8, and as
int8 with some layers kept in float32. int16 for such layers is no way: XNNPACK takes none of them (two early ones made
the demo's detector 20 times as slow).

Ranges are the smallest and largest value seen, not the library's moving average: an average lets the range of the
input follow the brightness of the samples (with 50 frames of a street it cut the darkest and brightest tenth off),
and a device sees night and headlights. For the same reason an all-black and an all-white picture always join the
samples: with them the input's range is what a pixel can be, whatever the samples were.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError
from edgeapp.manifest import InputSpec
from edgeapp.system.files import write_durably
from edgeapp.workshop.progress import Progress, silent
from edgeapp.workshop.quiet import libraries_silenced
from edgeapp.workshop.tflite_file import operator_names, with_signature

Sample = npt.NDArray[np.float32]
POSTPROCESS = "TFLite_Detection_PostProcess"
_MAX_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedModel:
    """What the quantized file's tensors are called, and how a real value becomes an input number.

    `outputs` maps the float model's output tensor names to those of the quantized one.
    """

    input_name: str
    input_scale: float
    input_zero_point: int
    outputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Description:
    """A model's tensors as the runtime tells them."""

    input_name: str
    input_argument: str
    input_shape: tuple[int, ...]
    dtypes: tuple[str, ...]
    quantization: tuple[float, int]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A float model, and the smallest and largest value that the samples gave each of its tensors."""

    float_model: Path
    content: bytes
    description: _Description
    statistics: Mapping[str, Any]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the output tensors."""
        return self.description.outputs

    def write_int8(self, out: Path, *, keep_float: Collection[str] = ()) -> QuantizedModel:
        """Write the int8 form, in one step. The operators that write the tensors `keep_float` stay float32.

        Input and outputs are int8 whatever is kept, as long as that is no output.

        Raises:
            ConvertError: the model cannot be quantized as a whole.
        """
        from litert_quantizer import algorithm_manager, qtyping, recipe, recipe_manager

        rules = recipe_manager.RecipeManager()
        rules.load_quantization_recipe(recipe.static_wi8_ai8())
        for name in keep_float:
            rules.add_quantization_config(
                _operator_of(name),
                qtyping.TFLOperationName.ALL_SUPPORTED,
                algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
            )
        content = _quantized(self.content, rules.get_quantization_recipe(), self.statistics, self.float_model)
        result = _accepted(self.description, _describe(content, out), out)
        write_durably(out, content)
        return result

    def quantized_alone(self, name: str) -> bytes:
        """The model with int8 in the operator that writes the tensor `name`, and float32 everywhere else.

        Raises:
            ConvertError: that operator cannot be quantized.
        """
        from litert_quantizer import qtyping, recipe_manager

        rules = recipe_manager.RecipeManager()
        rules.add_static_config(_operator_of(name), qtyping.TFLOperationName.ALL_SUPPORTED, 8, 8)
        return _quantized(self.content, rules.get_quantization_recipe(), self.statistics, self.float_model)


def _operator_of(name: str) -> str:
    """The pattern of an operator, which is known by the names of its outputs, each with a semicolon."""
    return f"^{re.escape(name)};"


def quantize_int8(
    float_model: Path,
    out: Path,
    samples: Iterable[Sample],
    *,
    input_spec: InputSpec,
    progress: Progress = silent,
) -> QuantizedModel:
    """Write the int8 form of a float32 model with one input to `out`, in one step; the rest as `calibrate`."""
    calibrated = calibrate(float_model, samples, input_spec=input_spec, progress=progress)
    result = calibrated.write_int8(out)
    progress("quantize", 1.0)
    return result


def calibrate(
    float_model: Path, samples: Iterable[Sample], *, input_spec: InputSpec, progress: Progress = silent
) -> Calibrated:
    """Find the ranges of a float32 model with one input.

    Args:
        float_model: the .tflite file to read; it stays as it is.
        samples: typical inputs, float32 of the model's input shape, already normalised; some dozens.
        input_spec: how a pixel becomes an input value; it says what black and white are.
        progress: told "quantize" and the share done.

    Raises:
        ConvertError: the model cannot be quantized as a whole, or a sample does not fit its input.
    """
    content = with_signature(_read(float_model))
    if POSTPROCESS in operator_names(content):
        raise ConvertError(
            f"{float_model}: expected a model that ends in raw boxes and scores, found {POSTPROCESS}, which has no "
            f"int8 form and whose ranges spoil the calibration: export or cut the model before it, quantize that, and "
            f"let the device decode the boxes (decoder ssd_raw)"
        )
    before = _describe(content, float_model)
    given = [_checked(sample, before, position) for position, sample in enumerate(samples)]
    if not given:
        raise ConvertError(f"{float_model}: expected some dozens of samples to calibrate with, found none")
    with _foreign_errors(float_model):
        statistics = _watch(content, [*given, *_extremes(input_spec, before)], before.input_argument, progress)
    return Calibrated(float_model, content, before, statistics)


def write_dynamic_range(float_model: Path, out: Path) -> None:
    """Write the form with int8 weights and float32 activations, which are quantized anew in each inference.

    Raises:
        ConvertError: the model cannot be quantized so.
    """
    from litert_quantizer import recipe

    content = with_signature(_read(float_model))
    write_durably(out, _quantized(content, recipe.dynamic_wi8_afp32(), None, float_model))


def shifted_input(spec: InputSpec, quantized: QuantizedModel) -> InputSpec:
    """The same input with a mean at which a pixel becomes exactly pixel − 128, where that costs half a level at most.

    With mean 127.5 and one step per level every pixel lies halfway between two input numbers. Whichever way they
    are rounded the error is half a level; all the same way, the middle two pixels stay apart, and the device fills
    the tensor with an exclusive-or instead of a table (7 against 117 µs for 300x300 on a workstation).
    """
    mean = 128.0 + quantized.input_zero_point
    steps_per_level = 1 / (spec.std[0] * quantized.input_scale)
    is_level = abs(steps_per_level - 1) < 1e-6 and len(set(spec.std)) == 1
    if not is_level or any(abs(mean - given) > 0.5 for given in spec.mean):
        return spec
    return dataclasses.replace(spec, mean=(mean,), std=spec.std[:1])


def _describe(content: bytes, where: Path) -> _Description:
    from ai_edge_litert.interpreter import Interpreter

    try:
        with libraries_silenced():
            interpreter = Interpreter(model_content=content)
            signatures = interpreter.get_signature_list()
    except (ValueError, RuntimeError) as error:
        raise ConvertError(f"{where}: expected a model that the runtime takes, found: {error}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1:
        raise ConvertError(f"{where}: expected one input, found {len(inputs)}")
    scale, zero_point = inputs[0]["quantization"]
    return _Description(
        input_name=inputs[0]["name"],
        input_argument=next(iter(signatures.values()))["inputs"][0],
        input_shape=tuple(int(size) for size in inputs[0]["shape"]),
        dtypes=tuple(np.dtype(one["dtype"]).name for one in [*inputs, *outputs]),
        quantization=(float(scale), int(zero_point)),
        outputs=tuple(one["name"] for one in outputs),
    )


def _checked(sample: Sample, model: _Description, position: int) -> Sample:
    if sample.shape != model.input_shape or sample.dtype != np.float32 or not np.isfinite(sample).all():
        raise ConvertError(
            f"sample {position}: expected finite float32 {list(model.input_shape)}, "
            f"found {sample.dtype} {list(sample.shape)}"
        )
    return sample


def _extremes(spec: InputSpec, model: _Description) -> list[Sample]:
    """An all-black and an all-white input."""
    mean, std = np.array(spec.mean), np.array(spec.std)
    return [np.broadcast_to((pixel - mean) / std, model.input_shape).astype(np.float32) for pixel in (0.0, 255.0)]


def _watch(content: bytes, samples: list[Sample], argument: str, progress: Progress) -> Mapping[str, Any]:
    """The smallest and largest value of each tensor."""
    from litert_quantizer import calibrator, recipe, recipe_manager
    from litert_quantizer.utils import qsv_utils

    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    with libraries_silenced():
        # Not Quantizer.calibrate: that has sixteen threads (six times slower on two cores) and only the average.
        watcher = calibrator.Calibrator(
            content, num_threads=min(os.cpu_count() or 1, _MAX_THREADS), qsv_update_func=qsv_utils.min_max_update
        )
        (signature,) = watcher.get_signature_list()
    for done, sample in enumerate(samples):
        progress("quantize", done / (len(samples) + 1))
        with libraries_silenced():
            watcher.calibrate({signature: [{argument: sample}]}, rules)
    progress("quantize", len(samples) / (len(samples) + 1))
    statistics: Mapping[str, Any] = watcher.get_model_qsvs()
    return statistics


def _quantized(content: bytes, rules: Any, statistics: Mapping[str, Any] | None, where: Path) -> bytes:
    from litert_quantizer import quantizer

    with _foreign_errors(where), libraries_silenced():
        engine = quantizer.Quantizer(content, rules)
        result = engine.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


@contextlib.contextmanager
def _foreign_errors(where: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        raise ConvertError(f"{where}: expected a model that litert-quantizer can do, found: {error}") from error


def _accepted(before: _Description, after: _Description, where: Path) -> QuantizedModel:
    if set(after.dtypes) != {"int8"} or len(after.outputs) != len(before.outputs):
        raise ConvertError(
            f"{where}: expected int8 input and {len(before.outputs)} int8 outputs, found {', '.join(after.dtypes)}"
        )
    scale, zero_point = after.quantization
    return QuantizedModel(
        input_name=after.input_name,
        input_scale=scale,
        input_zero_point=zero_point,
        outputs=dict(zip(before.outputs, after.outputs, strict=True)),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConvertError(f"{path}: expected a .tflite file, found: {error.strerror}") from error
