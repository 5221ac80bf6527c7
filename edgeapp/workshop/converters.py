"""Converts and checks: frozen graphs here, ONNX by onnx2tf and PyTorch by litert-torch in environments of their own.

The converters of others are no extras of this package, since what they pin excludes what the device needs (onnx2tf
1.29: ai-edge-litert 2.1.0 and NumPy 1.26), and each brings gigabytes. They run in a child process with the interpreter
of that environment, which also asks the original framework what it answers; whether the file answers the same on the
runtime that devices have is found out here.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.errors import ConvertError, ModelError
from edgeapp.system.files import write_durably
from edgeapp.vision.golden import INPUT, OUTPUT_PREFIX
from edgeapp.vision.tflite import Runtime
from edgeapp.workshop import converter_child
from edgeapp.workshop.conversion_check import MOST_STEPS, Pair, fitted, pair
from edgeapp.workshop.convert import GraphCut, convert_frozen_graph
from edgeapp.workshop.convert_kind import Kind
from edgeapp.workshop.quiet import libraries_silenced

Array = npt.NDArray[Any]
_SHOWN_LINES = 3
PACKAGES: dict[Kind, str] = {"onnx": "onnx2tf", "exported program": "litert-torch"}
"""What converts a kind of file, by the name that pip and `converter_child.py` know it by."""


@dataclass(frozen=True, slots=True)
class Checked:
    """How near the converted model comes to its original: in steps of 255 over an output's span; None: why not tried.

    `file` has what the original answered, for `compare --original`.
    """

    steps: float | None
    text: str
    file: Path | None = None


def convert_elsewhere(kind: Kind, model: Path, out: Path, python: str, shape: str = "") -> Checked:
    """Write the float32 .tflite file of a model, by a converter that is installed where `python` is, and check it.

    `shape`: sizes with commas, of an ONNX file's input, where it leaves some open.

    Raises:
        ConvertError: it is not installed there, or fails; the text says what to do, or what it said last. Or the file
            answers otherwise than the original; then nothing is written.
    """
    package = PACKAGES[kind]
    with tempfile.TemporaryDirectory(prefix="edgeapp-convert-") as name:
        folder = Path(name)
        done = _run(package, model, folder, python, *([shape] if shape else []))
        if done.returncode == converter_child.SHAPE_WANTED:
            raise ConvertError(f"{model}: {done.stderr.strip().splitlines()[-1]}")
        if done.returncode == converter_child.ABSENT:
            raise ConvertError(
                f"{model}: expected {package} to convert it, found: {done.stderr.strip()}; give it an "
                f"environment of its own: python3 -m venv converter && converter/bin/pip install {package}, "
                f"and name that with --python converter/bin/python"
            )
        made = sorted(folder.rglob("*_float32.tflite"))
        if done.returncode or len(made) != 1:
            raise ConvertError(
                f"{model}: expected {package} to write one float32 file, found {len(made)}, status "
                f"{done.returncode}: {_last_words(done)}"
            )
        return _finish(folder, made[0], out)


def convert_here(model: Path, out: Path, cut: GraphCut, python: str) -> Checked:
    """Write the float32 .tflite file of a frozen graph; check it where TensorFlow is installed where `python` is.

    Raises:
        ConvertError: it cannot be converted, or answers otherwise than TensorFlow; then nothing is written.
    """
    with tempfile.TemporaryDirectory(prefix="edgeapp-convert-") as name:
        folder = Path(name)
        made = folder / "model.tflite"
        convert_frozen_graph(model, made, cut)
        (folder / converter_child.CUT).write_text(json.dumps(dataclasses.asdict(cut)))
        done = _run("tensorflow", model, folder, python)
        if done.returncode == converter_child.ABSENT:
            why = "--python names no environment with tensorflow, which is not needed to convert"
            (folder / converter_child.UNCHECKED).write_text(why)
        elif done.returncode:
            (folder / converter_child.UNCHECKED).write_text(f"tensorflow: {_last_words(done)}")
        return _finish(folder, made, out)


def _run(package: str, model: Path, folder: Path, python: str, *more: str) -> subprocess.CompletedProcess[str]:
    script = Path(converter_child.__file__).read_text(encoding="utf-8")
    # Not by its path: Python would look for modules beside it, and find ours for those of others.
    command = [python, "-c", script, package, str(model.resolve()), str(folder), *more]
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ConvertError(f"--python: expected an interpreter, found {python}: {error.strerror}") from error


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Of what a converter said: its last complaint, or else the last lines."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    complaints = [line for line in lines if "Error" in line][-1:]
    return " | ".join(complaints or lines[-_SHOWN_LINES:])


def _finish(folder: Path, made: Path, out: Path) -> Checked:
    checked = _check(folder, made, out)
    write_durably(out, made.read_bytes())
    return checked


def _check(folder: Path, made: Path, out: Path) -> Checked:
    """Hold the converted file against what the original answered, and keep that beside `out`."""
    kept = folder / converter_child.ORIGINAL
    if not kept.exists():
        why = folder / converter_child.UNCHECKED
        return Checked(None, why.read_text() if why.exists() else "the original framework gave no answers")
    with np.load(kept, allow_pickle=False) as arrays:
        given = arrays[INPUT]
        originals = {name.removeprefix(OUTPUT_PREFIX): arrays[name] for name in arrays.files if name != INPUT}
    inputs, found = _answers(made, given)
    pairs = pair(originals, found)
    worst = max(pairs, key=lambda each: each.steps)
    if worst.steps > MOST_STEPS:
        raise ConvertError(
            f"{out}: expected to answer as the original, found output {worst.name!r} off by {worst.steps:.3g} of 255 "
            f"steps of its span ({worst.original!r} there): the converter got it wrong, and nothing was written"
        )
    file = out.with_suffix(".original.npz")
    write_durably(file, _packed(inputs, pairs))
    return Checked(worst.steps, f"answers as the original, within {worst.steps:.2g} of 255 steps", file)


def _answers(made: Path, given: Array) -> tuple[Array, Mapping[str, Array]]:
    """The original's inputs in the layout of the converted model, and its outputs for them."""
    with libraries_silenced():
        runtime = Runtime(made, delegate="none")
    try:
        specs = list(runtime.inputs.values())
        inputs = fitted(given, specs[0].shape) if len(specs) == 1 else None
        if inputs is None:
            raise ConvertError(f"expected an input as the original's, {list(given.shape[1:])}, found {specs[0]}")
        answers = []
        for values in inputs:
            runtime.set_input(specs[0], np.ascontiguousarray(values))
            runtime.invoke()
            answers.append({name: runtime.output(spec).copy() for name, spec in runtime.outputs.items()})
    except ModelError as error:
        raise ConvertError(f"expected the converted model to run, found: {error}") from error
    finally:
        runtime.close()
    return inputs, {name: np.stack([one[name] for one in answers]) for name in answers[0]}


def _packed(inputs: Array, pairs: tuple[Pair, ...]) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = {f"{OUTPUT_PREFIX}{each.name}": each.expected for each in pairs}
    arrays[INPUT] = inputs
    np.savez(content, **arrays)
    return content.getvalue()
