"""Which TFLite runtimes there are, the better one first, and which is installed; without importing either."""

from __future__ import annotations

import importlib.metadata

RUNTIMES = (
    ("ai_edge_litert.interpreter", "ai-edge-litert"),
    ("tflite_runtime.interpreter", "tflite-runtime"),
)


def installed_runtime() -> str:
    """Name and version of the runtime that vision will take, as in its reports; empty where there is none."""
    for _, distribution in RUNTIMES:
        try:
            return f"{distribution} {importlib.metadata.version(distribution)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
