"""Writing a model folder: the model file's facts and model.json.

Owns the form of model.json as written; its meaning is `edgeapp.manifest`'s, reading it `edgeapp.vision`'s.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from edgeapp.manifest import MANIFEST_NAME, FileSpec, Manifest
from edgeapp.system.files import write_durably


def describe_file(path: Path) -> FileSpec:
    """The name, hash and size of a file that a manifest is to name."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return FileSpec(file=path.name, sha256=digest, size_bytes=path.stat().st_size)


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write model.json into the folder, in one step; returns its path."""
    path = folder / MANIFEST_NAME
    write_durably(path, manifest_json(manifest).encode())
    return path


def manifest_json(manifest: Manifest) -> str:
    """model.json's text: the keys in the order of the fields; what is None, and so not there, is left out."""
    return json.dumps(_without_none(dataclasses.asdict(manifest)), indent=2, ensure_ascii=False) + "\n"


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
