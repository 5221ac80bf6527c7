"""A model folder on disk: model.json and the file it describes, verified before anything trusts them.

Owns the check that the file is the one its manifest names, byte for byte. A damaged model may load and answer
wrongly, so its hash is the only guard. Nobody but the device's own software may write to the folder: what is
verified here is opened again by the runtime.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from edgeapp.errors import ManifestError
from edgeapp.manifest import MANIFEST_NAME, FileSpec, Manifest
from edgeapp.reader import read_json
from edgeapp.system.files import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

_MAX_MANIFEST_BYTES = 1 << 20
_LEAST_EXPECTED = 100  # of fewer, a histogram says nothing


def open_model_folder(path: Path) -> tuple[Manifest, Path]:
    """The manifest of the folder at `path`, and the path of its model file, verified.

    Raises:
        ManifestError: the folder, model.json or the model file is missing, unreadable, or not what it should be.
    """
    manifest = read_manifest(path)
    model_path = _inside(path, manifest.model.file)
    _verify(model_path, manifest.model)
    return manifest, model_path


def read_manifest(path: Path) -> Manifest:
    """The manifest of the folder at `path`. The model file is not looked at: use it for nothing but what it says.

    Raises:
        ManifestError: the folder or model.json is missing, unreadable, or not what it should be.
    """
    if not path.is_dir():
        raise ManifestError(f"{path}: expected a model folder, found {'a file' if path.exists() else 'nothing'}")
    manifest_path = _inside(path, MANIFEST_NAME)
    manifest = read_json(Manifest, _read_small(manifest_path), str(manifest_path))
    tracks = sum(manifest.expected_confidence or (_LEAST_EXPECTED,))
    if tracks < _LEAST_EXPECTED:
        expected = f"expected at least {_LEAST_EXPECTED} tracks in all, found {tracks}"
        raise ManifestError(f"{manifest_path}: expected_confidence: {expected}")
    return manifest


def open_golden(path: Path, manifest: Manifest) -> Path | None:
    """The path of the golden cases of the folder at `path`, verified; None where its manifest names none.

    Raises:
        ManifestError: the file is missing, unreadable, or not what it should be.
    """
    if manifest.golden is None:
        return None
    cases = _inside(path, manifest.golden.cases.file)
    _verify(cases, manifest.golden.cases)
    return cases


def _inside(folder: Path, name: str) -> Path:
    """The real path of a plain file of the folder. A link may not lead out of it."""
    path = folder / name
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
        is_inside = real.is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, up to Python 3.12
        raise ManifestError(f"{path}: expected a file, found: {_reason(error)}") from error
    if not is_inside:
        raise ManifestError(f"{path}: expected a file inside the folder, found a link to {real}")
    if not stat.S_ISREG(mode):
        raise ManifestError(f"{path}: expected a plain file, found {stat.filemode(mode)}")
    return real


def _read_small(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"{path}: expected a readable file, found: {_reason(error)}") from error
    if len(content) > _MAX_MANIFEST_BYTES:
        raise ManifestError(f"{path}: expected at most {_MAX_MANIFEST_BYTES} bytes, found more")
    return content


def _verify(path: Path, spec: FileSpec) -> None:
    try:
        size_bytes = path.stat().st_size
        if size_bytes != spec.size_bytes:
            raise ManifestError(f"{path}: expected {spec.size_bytes} bytes as {MANIFEST_NAME} says, found {size_bytes}")
        sha256 = sha256_of(path)
    except OSError as error:
        raise ManifestError(f"{path}: expected a readable file, found: {_reason(error)}") from error
    if sha256 != spec.sha256:
        raise ManifestError(f"{path}: expected sha256 {spec.sha256} as {MANIFEST_NAME} says, found {sha256}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
