"""Which TFLite runtimes there are, the better one first, and which is installed; without importing either."""

from __future__ import annotations

import sys
from pathlib import Path

RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)
_SUFFIX = ".dist-info"


def installed_runtime() -> str:
    """Name and version of the runtime that vision will take, as in its reports; empty where there is none."""
    for _, distribution in RUNTIMES:
        if version := installed_version(distribution):
            return f"{distribution} {version}"
    return ""


def installed_version(distribution: str) -> str:
    """The version of an installed distribution; empty where it is not installed.

    It is in the name of the folder that an installer makes (PyPA, "Recording installed projects"). importlib.metadata
    reads the same and more, but loading it takes longer than all that vision loads of edgeapp's protocol.
    """
    beginning = f"{distribution.replace('-', '_')}-"
    for folder in sys.path:
        for found in Path(folder).glob(f"{beginning}*{_SUFFIX}"):
            return found.name[len(beginning) : -len(_SUFFIX)]
    return ""
