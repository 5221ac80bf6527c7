"""The self-test of a model folder, the child's side: open it, load it, try it, say what was found, end.

Owns the order of the trials: hash, load, contract and warm-up, golden cases, latency, memory. The limits are set from
outside (`selftest.py`); this side gives up the network and dies with its parent. The report goes to a descriptor of
its own, since runtime and delegates print to stdout and stderr as they like.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeapp.config import Delegate
from edgeapp.errors import EdgeAppError
from edgeapp.system import processes
from edgeapp.system.network import leave_network
from edgeapp.types import TensorReport
from edgeapp.vision.delegate_argument import read_delegate
from edgeapp.vision.model_folder import open_golden, open_model_folder
from edgeapp.vision.selftest import BUDGET, FAILED, GOLDEN, SelfTestReport

_LEAST_INVOKES = 3


def examine(
    folder: Path, *, delegate: Delegate = "auto", threads: int = 1, invokes: int = 30, measure_s: float = 15.0
) -> SelfTestReport:
    """Try the model folder. What was found until something failed is in the report.

    Latency is measured over `invokes` runs, or as many as `measure_s` allows.
    """
    facts: dict[str, Any] = {}
    try:
        code, text = _try(folder, facts, delegate, threads, invokes, measure_s)
    except EdgeAppError as error:
        code, text = error.code, str(error)
    except MemoryError:
        code, text = BUDGET, "expected to fit into the address space allowed, found that it does not"
    return SelfTestReport(code=code, text=text, peak_mb=_peak_mb(), **facts)


def _try(
    folder: Path, facts: dict[str, Any], delegate: Delegate, threads: int, invokes: int, measure_s: float
) -> tuple[str, str]:
    """Code and text of the verdict; both empty where the model passes."""
    manifest, _ = open_model_folder(folder)  # before the heavy imports: a torn copy is found in no time
    golden_path = open_golden(folder, manifest)
    try:
        from edgeapp.vision import golden
        from edgeapp.vision.model import Model
    except (ImportError, OSError) as error:  # no fault of the model's: too little address space, a broken installation
        return FAILED, f"OpenCV, NumPy or edgeapp cannot be loaded within the limits: {error}"

    started = time.perf_counter()
    model = Model.load(folder, delegate=delegate, threads=threads)
    model.warm_up()
    tensors = {
        spec.name: TensorReport(spec.shape, spec.dtype, spec.scale, spec.zero_point)
        for spec in (model.input, *model.outputs.values())
    }
    facts.update(model=model.report, load_ms=(time.perf_counter() - started) * 1e3, tensors=tensors)
    grey = model.preprocess(model.grey_picture())
    cases = golden.read_golden(golden_path, model) if golden_path else None
    if cases is not None and manifest.golden is not None:
        found, limits = golden.compare(model, cases), manifest.golden
        facts.update(golden=found)
        if found.worst_steps > limits.max_steps:
            return GOLDEN, (
                f"golden cases: expected outputs within {limits.max_steps} quantization steps, "
                f"found {found.worst_steps:.4g}"
            )
        if found.agreement < limits.min_agreement:
            return GOLDEN, (
                f"golden cases: expected the same detections in {limits.min_agreement:.0%} of {found.cases} cases, "
                f"found {found.agreement:.0%}"
            )
    inputs = cases.inputs if cases is not None else [grey]
    facts.update(_latencies(lambda index: model.run(inputs[index % len(inputs)])[1], invokes, measure_s))
    return "", ""


def _latencies(invoke: Callable[[int], float], invokes: int, measure_s: float) -> dict[str, Any]:
    ends_s = time.monotonic() + measure_s
    times_ms: list[float] = []
    while len(times_ms) < invokes and (len(times_ms) < _LEAST_INVOKES or time.monotonic() < ends_s):
        times_ms.append(invoke(len(times_ms)))
    times_ms.sort()
    count = len(times_ms)
    return {
        "invokes": count,
        "median_ms": times_ms[count // 2],
        "p95_ms": times_ms[min(count - 1, count * 95 // 100)],
        "p99_ms": times_ms[math.ceil(count * 0.99) - 1],
        "worst_ms": times_ms[-1],
    }


def _peak_mb() -> float | None:
    """Highest resident memory of this process, MiB. getrusage would count the parent's, from before the exec."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edgeapp-selftest", description="Tries one model folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out-fd", type=int, default=1, help="where the report goes")
    parser.add_argument("--parent", type=int, help="end with this process")
    parser.add_argument(
        "--delegate", type=read_delegate, default="auto", help="auto, xnnpack, none, or a library as JSON"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--invokes", type=int, default=30)
    parser.add_argument("--measure-s", type=float, default=15.0)
    chosen = parser.parse_args(arguments)
    if chosen.parent and not processes.die_with_parent(chosen.parent):
        return 0
    is_alone = leave_network()
    report = examine(
        chosen.folder,
        delegate=chosen.delegate,
        threads=chosen.threads,
        invokes=max(chosen.invokes, _LEAST_INVOKES),
        measure_s=chosen.measure_s,
    )
    report = dataclasses.replace(report, has_network=not is_alone)
    os.write(chosen.out_fd, json.dumps(dataclasses.asdict(report), allow_nan=False).encode())
    sys.stdout.flush()
    os._exit(0)  # native threads are not waited for, and no destructor of the runtime may spoil the end


if __name__ == "__main__":
    main()
