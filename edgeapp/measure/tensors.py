"""`edgeapp run-tensors`: a model file on tensors, not pictures, with the kernels and delegates that are here.

Owns the exchange: zipped .npy arrays of [cases, *shape], never pickled, with their tensor names in names.json.
It is what a workstation asks of a device to compare it with itself, and the process in which the workstation meets a
delegate library, which may crash it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp import __version__
from edgeapp.errors import EdgeAppError, ModelError
from edgeapp.types import DelegateReport
from edgeapp.vision.delegate_argument import read_delegate

if TYPE_CHECKING:
    import numpy.typing as npt

    from edgeapp.config import Delegate

EXIT_REFUSED = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """What ran the tensors."""

    runtime: str
    delegate: DelegateReport
    edgeapp: str


def run_command(chosen: argparse.Namespace) -> int:
    """Run the file on all cases; one JSON object, a `Ran`, on standard output."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ran = run_tensors(chosen.model, chosen.inputs, chosen.out, read_delegate(chosen.delegate), chosen.threads)
    except (EdgeAppError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    print(json.dumps(dataclasses.asdict(ran)), flush=True)
    return 0


def run_tensors(model: Path, inputs: Path, out: Path, delegate: Delegate, threads: int) -> Ran:
    """Run the model file on all cases of `inputs` and write what it gives to `out`.

    Raises:
        ModelError: the runtime refuses or fails, or the inputs are not the model's.
        OSError: a file cannot be read or written.
    """
    import numpy as np

    from edgeapp.vision.tflite import Runtime

    given = read_arrays(inputs)
    runtime = Runtime(model, delegate=delegate, threads=threads)
    counts = {len(values) for values in given.values()}
    if set(given) != set(runtime.inputs) or len(counts) != 1:
        expected = f"the same number of cases for each of {sorted(runtime.inputs)[:5]}"
        raise ModelError(f"{inputs}: expected {expected}, found {sorted(given)[:5]} with {sorted(counts)} cases")
    found: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in runtime.outputs}
    for case in range(counts.pop()):
        for name, spec in runtime.inputs.items():
            runtime.set_input(spec, given[name][case])
        runtime.invoke()
        for name, spec in runtime.outputs.items():
            found[name].append(runtime.output(spec))
    write_arrays(out, {name: np.stack(values) for name, values in found.items()})
    return Ran(runtime=runtime.name, delegate=runtime.delegate, edgeapp=__version__)


def write_arrays(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """One file of arrays by tensor name, of any characters and in this order."""
    import numpy as np

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, values in enumerate(arrays.values()):
            with archive.open(f"{number}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(values), allow_pickle=False)
        archive.writestr("names.json", json.dumps(list(arrays)))


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What `write_arrays` wrote.

    Raises:
        ModelError: it is something else, or torn.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            names = json.loads(archive.read("names.json"))
            arrays = {}
            for number, name in enumerate(names):
                with archive.open(f"{number}.npy") as file:
                    arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: expected tensors by name, found: {error}") from error
    return arrays
