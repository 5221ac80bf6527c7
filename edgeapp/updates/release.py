"""A release: its manifest, whether its signers and this device's history allow it, and whether it fits here, pure.

Owns the schema of `releases/NAME/VERSION.json`, a TUF target. The manifest holds the model folder's model.json whole,
as `model`: name, version, files, tensors' meaning, classes, golden cases and defaults stand there and nowhere else, and
what vision reads is written from it. Whether the manifest is genuine is `metadata.py`'s.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from edgeapp.manifest import MANIFEST_NAME, FileSpec, Manifest, Sha256
from edgeapp.reader import Length, Pattern, Range
from edgeapp.updates.codes import Code, Refusal, UpdateError
from edgeapp.updates.command import UnixTime, read_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeapp.updates.facts import DeviceFacts, Floors

Version = Annotated[str, Pattern(r"[0-9]{1,6}(\.[0-9]{1,6}){1,3}", "a version as 1.2.3")]
Semver = Annotated[str, Pattern(r"[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}(-[0-9a-z.-]{1,32})?", "a version as 1.2.3-rc.1")]
Share = Annotated[float, Range(0, 1, "share")]
Milliseconds = Annotated[float, Range(0.01, 600_000, "ms")]
Megabytes = Annotated[float, Range(1, 65_536, "MiB")]
Words = Annotated[tuple[str, ...], Length(0, 16, "names")]


@dataclass(frozen=True, kw_only=True, slots=True)
class AppRange:
    """The versions of edgeapp that can run the release: from `min` to before `below`."""

    min: Version
    below: Version | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compat:
    """What a device must have. An empty list means any.

    `runtimes` gives the least version of each runtime that will do; `boards` are beginnings of the board's name.
    """

    app: AppRange
    runtimes: dict[str, Version]
    arch: Words = ()
    boards: Words = ()
    delegates: Words = ()
    min_ram_mb: Annotated[float, Range(0, 65_536, "MiB")] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorFacts:
    """A tensor as the interpreter tells it. `scale` and `zero_point` mean nothing for float32."""

    shape: Annotated[tuple[Annotated[int, Range(1, 1 << 24, "elements")], ...], Length(0, 6, "dimensions")]
    dtype: Literal["int8", "uint8", "float32"]
    scale: Annotated[float, Range(0, 1e9, "real value per step")] = 0.0
    zero_point: Annotated[int, Range(-128, 255, "quantization level")] = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantization:
    """Where the quantized numbers come from: hashes of the calibration set and of the float model."""

    calibration_sha256: Sha256
    float_sha256: Sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """How good the model was where it was made, and the floor below which it was not to be released."""

    metric: str
    data_set: str
    float_model: Share
    quantized: Share
    floor: Share


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What the model may cost on one kind of board. `steady_p95_ms` holds when the board is as hot as it gets."""

    p50_ms: Milliseconds
    p95_ms: Milliseconds
    steady_p95_ms: Milliseconds
    rss_mb: Megabytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Probation:
    """When a trial is over and what it may show, beside the same device's window before the switch.

    `min_agreement` is the least F1 of what the release and the model before it see in the same frames; 0 where the
    release is meant to see other things.
    """

    duration_s: Annotated[float, Range(1, 604_800, "seconds")] = 1800.0
    min_frames: Annotated[int, Range(1, 10_000_000, "frames")] = 1000
    max_fail_rate: Share = 0.01
    max_p95_ratio: Annotated[float, Range(0.1, 100, "times as long")] = 1.5
    max_throttled_share: Share = 0.2
    max_rss_growth_mb: Annotated[float, Range(0, 65_536, "MiB")] = 64.0
    max_restarts: Annotated[int, Range(0, 100, "restarts of vision")] = 0
    min_agreement: Share = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseManifest:
    """All of a release's manifest.

    `model` is model.json. `tensors` are the model file's by name. `files` are further ones of the folder (labels, a
    model card bom.cdx.json). `budgets` go by beginnings of board names.
    """

    v: Literal[1]
    semver: Semver
    created: UnixTime
    model: Manifest
    tensors: dict[str, TensorFacts]
    compat: Compat
    accuracy: Accuracy
    quantization: Quantization | None = None
    files: Annotated[tuple[FileSpec, ...], Length(0, 16, "files")] = ()
    budgets: dict[str, Budget] = field(default_factory=dict)
    probation: Probation = field(default_factory=Probation)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseStatus:
    """What the signers say of a release now: TUF's `custom` of its manifest. It can change after the release."""

    version: Annotated[int, Range(1, 1 << 31, "release number")]
    security_floor: Annotated[int, Range(0, 1 << 31, "release number")] = 0
    withdrawn: bool = False


def read_release(content: bytes, path: str) -> ReleaseManifest:
    """The manifest at `path` of the targets; its content was verified.

    Raises:
        UpdateError: E_TOO_BIG or E_PARSE.
    """
    release = read_document(ReleaseManifest, content, path)
    model = release.model
    mistakes = []
    if path != f"releases/{model.name}/{model.version}.json":
        mistakes.append(f"model: expected the name and version of its path, found {model.name} {model.version}")
    if model.golden is None:
        mistakes.append("model.golden: expected golden cases, found none")
    names = [spec.file for spec in release_files(release)]
    if len({MANIFEST_NAME, *names}) <= len(names):
        mistakes.append(f"files: expected names that differ, found {', '.join([MANIFEST_NAME, *names])}")
    if mistakes:
        raise UpdateError(Code.E_PARSE, "\n".join(f"{path}: {mistake}" for mistake in mistakes))
    return release


def release_files(release: ReleaseManifest) -> tuple[FileSpec, ...]:
    """The files of the release's model folder, each a TUF target `blobs/SHA256`; model.json is written beside them."""
    golden = (release.model.golden.cases,) if release.model.golden else ()
    return (release.model.model, *golden, *release.files)


def read_status(custom: Mapping[str, Any], path: str) -> ReleaseStatus:
    """What the signers say of the release at `path`.

    Raises:
        UpdateError: E_PARSE.
    """
    status = read_document(ReleaseStatus, json.dumps(custom).encode(), f"{path}: custom")
    if not path.endswith(f"/{status.version}.json"):
        raise UpdateError(Code.E_PARSE, f"{path}: custom: version: expected that of the path, found {status.version}")
    return status


def security_floor(customs: Iterable[Mapping[str, Any]], floor: int) -> int:
    """The security floor that all the releases together tell; it never falls below `floor`."""
    told = [custom.get("security_floor") for custom in customs]
    return max([floor, *(value for value in told if type(value) is int)])


def check_policy(status: ReleaseStatus, sha256: str, floors: Floors, *, may_downgrade: bool) -> Refusal | None:
    """Whether the release whose manifest has the hash `sha256` may come to run here."""
    if status.withdrawn:
        return Refusal(Code.E_WITHDRAWN, "expected a release in force, found it withdrawn")
    if status.version < floors.security_floor:
        floor = floors.security_floor
        return Refusal(Code.E_FLOOR, f"expected version {floor} or later, found {status.version}")
    if sha256 in floors.blocked:
        return Refusal(Code.E_BLOCKED, f"expected a release that did not fail here before, found {sha256}")
    if status.version < floors.version_floor and not may_downgrade:
        floor = floors.version_floor
        text = f"expected version {floor} or later, or allow_downgrade, found {status.version}"
        return Refusal(Code.E_DOWNGRADE, text)
    return None


def check_compatible(release: ReleaseManifest, device: DeviceFacts) -> Refusal | None:
    """Whether the release fits this device."""
    compat = release.compat
    refusal = check_app(compat.app, device.app_version)
    if refusal is not None:
        return refusal
    least = compat.runtimes.get(device.runtime)
    if least is None or _numbers(device.runtime_version) < _numbers(least):
        wanted = " or ".join(f"{name} {version}" for name, version in compat.runtimes.items())
        return Refusal(Code.E_COMPAT_RUNTIME, f"expected {wanted}, found {device.runtime} {device.runtime_version}")
    if compat.delegates and device.delegate not in compat.delegates:
        wanted = " or ".join(compat.delegates)
        return Refusal(Code.E_COMPAT_RUNTIME, f"expected the delegate {wanted}, found {device.delegate}")
    if compat.arch and device.arch not in compat.arch:
        return Refusal(Code.E_COMPAT_ARCH, f"expected {' or '.join(compat.arch)}, found {device.arch}")
    if compat.boards and not device.board.startswith(compat.boards):
        return Refusal(Code.E_COMPAT_BOARD, f"expected {' or '.join(compat.boards)}, found {device.board}")
    if device.ram_mb < compat.min_ram_mb:
        return Refusal(Code.E_COMPAT_RAM, f"expected {compat.min_ram_mb:.0f} MiB, found {device.ram_mb:.0f}")
    missing = [name for name in device.classes if name not in release.model.classes]
    if missing:
        return Refusal(Code.E_COMPAT_IO, f"expected the classes that are counted, found none for {', '.join(missing)}")
    return None


def check_app(wanted: AppRange, version: str) -> Refusal | None:
    """Whether this version of edgeapp can run the release."""
    app, limit = _numbers(version), wanted.below
    if app < _numbers(wanted.min) or (limit is not None and app >= _numbers(limit)):
        span = wanted.min + (f" to before {limit}" if limit else " or later")
        return Refusal(Code.E_COMPAT_APP, f"expected edgeapp {span}, found {version}")
    return None


def check_tensors(release: ReleaseManifest, found: Mapping[str, TensorFacts]) -> Refusal | None:
    """Whether the interpreter finds the tensors that the manifest tells. `found` may hold more."""
    for name, expected in release.tensors.items():
        if found.get(name) != expected:
            return Refusal(Code.E_COMPAT_IO, f"tensor {name}: expected {expected}, found {found.get(name, 'none')}")
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """A version to compare by: its leading numbers, without closing zeros, so that 2.3 is 2.3.0."""
    numbers = [int(part) for part in re.match(r"[0-9.]*", version)[0].split(".") if part]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
