"""Loads a model on the delegate that is wanted, and on XNNPACK where a delegate library does not serve it.

A library is somebody else's native code: it may refuse, compute wrongly, hang or crash. So it meets each model first in
a self-test, a child process with limits, and comes into this process only if that went well. Without a library there
is no child, and nothing to wait for. What goes wrong only in use is control's to remember (`choice.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeapp.config import DelegateLibrary, InferenceConfig
from edgeapp.vision.model import Model
from edgeapp.vision.selftest import SelfTestLimits, self_test

if TYPE_CHECKING:
    from pathlib import Path

# Well within vision.start_limit_s; drivers map gigabytes that they never use.
_TRIAL = SelfTestLimits(wall_s=15.0, cpu_s=30, address_mb=16 * 1024, invokes=5, measure_s=3.0)


def load(folder: Path, inference: InferenceConfig, delegate_fault: str = "") -> Model:
    """The model of a folder. `delegate_fault` is a reason known already not to touch the delegate library.

    Raises:
        ManifestError: the folder or its model.json cannot be used.
        ModelError: the runtime refuses the file, or it is not what the manifest says.
    """
    threads = inference.threads or 1
    if isinstance(inference.delegate, DelegateLibrary) and not delegate_fault:
        delegate_fault = _objection(folder, inference.delegate, threads)
    return Model.load(
        folder,
        delegate=inference.delegate,
        threads=threads,
        min_score=inference.min_score,
        fell_back=delegate_fault,
    )


def _objection(folder: Path, library: DelegateLibrary, threads: int) -> str:
    """Why the library does not serve this model; empty where it does."""
    report = self_test(folder, _TRIAL, delegate=library, threads=threads)
    if not report.passed:
        return f"{library.library}: in its trial: {report.text}"
    return report.model.delegate.fell_back if report.model else ""
