"""Converters of others, each in an environment of its own: onnx2tf for ONNX, litert-torch for PyTorch.

They are no extras of this package, since what they pin excludes what the device needs (onnx2tf 1.29: ai-edge-litert
2.1.0 and NumPy 1.26), and each brings gigabytes. They run in a child process with the interpreter of that environment.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeapp.errors import ConvertError
from edgeapp.workshop.convert_kind import Kind

_ABSENT = 3
_SHOWN_LINES = 3


@dataclass(frozen=True, slots=True)
class Converter:
    """A converter: the package to install, its module, and what its child runs; argv holds the model and a folder."""

    package: str
    module: str
    script: str


_FRAME = """
import sys
try:
    import {module}
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit({absent})
model, out = sys.argv[1:]
{script}
"""
CONVERTERS: dict[Kind, Converter] = {
    "onnx": Converter(
        "onnx2tf",
        "onnx2tf",
        # It checks each operator on sample pictures, which it fetches unverified where this folder has none.
        "import numpy\n"
        "samples = numpy.random.default_rng(0).uniform(0, 1, (20, 128, 128, 3)).astype('float32')\n"
        "numpy.save('calibration_image_sample_data_20x128x128x3_float32.npy', samples)\n"
        "onnx2tf.convert(input_onnx_file_path=model, output_folder_path=out, non_verbose=True)",
    ),
    "exported program": Converter(
        "litert-torch",
        "litert_torch",
        "import torch\n"
        "program = torch.export.load(model)\n"
        "arguments, named = program.example_inputs\n"
        "litert_torch.convert(program.module(), arguments, named).export(out + '/model_float32.tflite')",
    ),
}


def convert_elsewhere(converter: Converter, model: Path, out: Path, python: str) -> None:
    """Write the float32 .tflite file of a model, by a converter that is installed where `python` is.

    Raises:
        ConvertError: it is not installed there, or fails; the text says what to do, or what it said last.
    """
    script = _FRAME.format(module=converter.module, absent=_ABSENT, script=converter.script)
    with tempfile.TemporaryDirectory(prefix="edgeapp-convert-") as folder:
        command = [python, "-c", script, str(model.resolve()), folder]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise ConvertError(f"--python: expected an interpreter, found {python}: {error.strerror}") from error
        if done.returncode == _ABSENT:
            raise ConvertError(
                f"{model}: expected {converter.package} to convert it, found: {done.stderr.strip()}; give it an "
                f"environment of its own: python3 -m venv converter && converter/bin/pip install {converter.package}, "
                f"and name that with --python converter/bin/python"
            )
        made = sorted(Path(folder).rglob("*_float32.tflite"))
        if done.returncode or len(made) != 1:
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-_SHOWN_LINES:]
            raise ConvertError(
                f"{model}: expected {converter.package} to write one float32 file, found {len(made)}, status "
                f"{done.returncode}: {' | '.join(lines)}"
            )
        out.write_bytes(made[0].read_bytes())
