"""Where a model file runs to be compared: in a child process here, or on a device.

Native code of others runs there, so whatever it does is an answer: it gave outputs, or it ended with a reason.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from edgeapp.config import Delegate
from edgeapp.errors import CompareError
from edgeapp.measure.tensors import Ran, read_arrays, write_arrays
from edgeapp.reader import read_json
from edgeapp.system import processes
from edgeapp.vision.delegate_argument import delegate_argument
from edgeapp.workshop.remote import Remote

Arrays = Mapping[str, npt.NDArray[Any]]
_MODEL, _INPUTS, _OUTPUTS = "model.tflite", "inputs.zip", "outputs.zip"
_LIMIT_S = 900.0


class Place(Protocol):
    """Runs model files on tensors."""

    name: str

    def run(self, model: bytes, inputs: Arrays, delegate: Delegate) -> tuple[Arrays, Ran]:
        """The outputs by tensor name, each [cases, *shape], and what ran.

        Raises:
            CompareError: the process ended without outputs; the text says how.
            RemoteError: the device cannot be reached.
        """


class Here:
    """This machine."""

    name = "here"

    def run(self, model: bytes, inputs: Arrays, delegate: Delegate) -> tuple[Arrays, Ran]:
        with tempfile.TemporaryDirectory(prefix="edgeapp-compare-") as name:
            folder = Path(name)
            _write(folder, model, inputs)
            command = [sys.executable, "-B", "-m", "edgeapp.cli", *_arguments(delegate)]
            environment = processes.child_environment() | processes.ONE_BLAS_THREAD
            # From this checkout or installation, whatever folder it runs in.
            environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
            try:
                done = subprocess.run(
                    command, cwd=folder, env=environment, capture_output=True, timeout=_LIMIT_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise CompareError(f"expected an end within {_LIMIT_S:g} s, found none") from error
            if done.returncode:
                raise CompareError(_ended(done.returncode, done.stderr.decode(errors="replace")))
            return read_arrays(folder / _OUTPUTS), _ran(done.stdout)


class There:
    """A device."""

    def __init__(self, remote: Remote) -> None:
        self.name = str(remote.address)
        self._remote = remote

    def run(self, model: bytes, inputs: Arrays, delegate: Delegate) -> tuple[Arrays, Ran]:
        with tempfile.TemporaryDirectory(prefix="edgeapp-compare-") as name:
            folder = Path(name)
            said: list[str] = []
            _write(folder, model, inputs)
            self._remote.put({_MODEL: folder / _MODEL, _INPUTS: folder / _INPUTS})
            status, printed = self._remote.run(_arguments(delegate), said.append)
            if status:
                raise CompareError(_ended(status, "\n".join(said)))
            self._remote.get([_OUTPUTS], folder)
            return read_arrays(folder / _OUTPUTS), _ran(printed)


def _write(folder: Path, model: bytes, inputs: Arrays) -> None:
    (folder / _MODEL).write_bytes(model)
    write_arrays(folder / _INPUTS, dict(inputs))


def _arguments(delegate: Delegate) -> list[str]:
    return ["run-tensors", _MODEL, "--inputs", _INPUTS, "--out", _OUTPUTS, "--delegate", delegate_argument(delegate)]


def _ran(printed: bytes) -> Ran:
    lines = printed.splitlines()  # a delegate may print what it likes before
    return read_json(Ran, lines[-1] if lines else b"", "run-tensors")


def _ended(status: int, said: str) -> str:
    lines = [line for line in said.splitlines() if line and not line.startswith("INFO:")]
    last = lines[-1][:300] if lines else ""
    if status < 0:
        try:
            how = signal.Signals(-status).name
        except ValueError:  # real-time signals have no names
            how = f"signal {-status}"
        return f"the process ended with {how}" + (f"; its last words: {last}" if last else "")
    return last or f"the process ended with status {status}"
