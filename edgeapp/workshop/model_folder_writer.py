"""Writing a model folder: the model file's facts and model.json.

What model.json says and how it is spelt is `edgeapp.manifest`'s, reading it `edgeapp.vision`'s.
"""

from __future__ import annotations

from pathlib import Path

from edgeapp.manifest import MANIFEST_NAME, FileSpec, Manifest, manifest_json
from edgeapp.system.files import sha256_of, write_durably


def describe_file(path: Path) -> FileSpec:
    """The name, hash and size of a file that a manifest is to name."""
    return FileSpec(file=path.name, sha256=sha256_of(path), size_bytes=path.stat().st_size)


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write model.json into the folder, in one step; returns its path."""
    path = folder / MANIFEST_NAME
    write_durably(path, manifest_json(manifest).encode())
    return path
