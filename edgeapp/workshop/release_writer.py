"""A release out of a model folder: tried, compared with its float twin, described. The recipe is `create`.

Owns what a release must prove before there is anything to sign: the device's own self-test passes, it sees what the
float model sees, its accuracy is above its floor, and its golden cases touch something. What it writes is unsigned.

The expected outputs of the golden cases are the quantized model's own (docs/decisions/0014): they guard its numbers.
The float model decides whether these numbers are right, and which pictures become cases.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from edgeapp import __version__
from edgeapp.document import JSON_MAX_BYTES
from edgeapp.errors import ReleaseError
from edgeapp.manifest import Manifest, Score, Sha256, without_none
from edgeapp.reader import read_json
from edgeapp.system.files import write_durably
from edgeapp.updates.release import (
    Accuracy,
    AppRange,
    Budget,
    Compat,
    Probation,
    Quantization,
    ReleaseManifest,
    TensorFacts,
    read_release,
    release_files,
)
from edgeapp.vision.model import Model
from edgeapp.vision.model_folder import open_model_folder
from edgeapp.vision.runtimes import installed_runtime
from edgeapp.vision.selftest import SelfTestLimits, self_test
from edgeapp.workshop.agreement import Agreement, agreement
from edgeapp.workshop.golden_writer import choose_cases, write_golden
from edgeapp.workshop.model_card import CARD_NAME, model_card
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.progress import Progress, silent
from edgeapp.workshop.quiet import libraries_silenced
from edgeapp.workshop.repository import blob_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edgeapp.types import Detection

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
_LIMITS = SelfTestLimits(invokes=3)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseFacts:
    """What the model folder does not tell of a release; several files may each hold a part."""

    accuracy: Accuracy | None = None
    compat: Compat | None = None
    calibration_sha256: Sha256 | None = None
    budgets: dict[str, Budget] | None = None
    probation: Probation | None = None
    escalate_below: dict[str, Score] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to become a release. `float_dir` is the model folder of the float twin."""

    model_dir: Path
    float_dir: Path
    pictures_dir: Path
    facts: ReleaseFacts
    semver: str
    created_s: int
    version: int | None = None
    min_agreement: float = 0.8


def read_facts(paths: Sequence[Path]) -> ReleaseFacts:
    """The facts that the files say together.

    Raises:
        ManifestError: one is malformed.
        ReleaseError: two say the same thing, or one cannot be read.
    """
    found: dict[str, Any] = {}
    for path in paths:
        part = read_json(ReleaseFacts, path.read_bytes(), str(path))
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if value is not None and field.name in found:
                raise ReleaseError(f"{path}: {field.name}: expected in one file, found in two")
            if value is not None:
                found[field.name] = value
    return ReleaseFacts(**found)


def create(request: Request, out: Path, progress: Progress = silent) -> tuple[ReleaseManifest, Agreement]:
    """Write `out` with releases/NAME/VERSION.json and blobs/SHA256, ready to be signed.

    Raises:
        ReleaseError: it must not become a release; the text says why.
        EdgeAppError: a model folder cannot be used.
    """
    accuracy = _checked_accuracy(request.facts)
    if out.exists():
        raise ReleaseError(f"{out}: expected nothing there, found something")
    manifest, _ = open_model_folder(request.model_dir)
    float_manifest, _ = open_model_folder(request.float_dir)
    _check_twins(manifest, float_manifest)
    pictures = _read_pictures(request.pictures_dir)
    for folder in (request.float_dir, request.model_dir):
        _self_test(folder)
    progress("self-test", 1.0)
    agreed, golden = _compare(request, pictures, progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        work = Path(name) / "model"
        model = _write_folder(request, manifest, golden, work)
        tensors = _tensors(work)
        card = model_card(
            model,
            float_manifest.model,
            accuracy,
            agreed,
            tensors,
            semver=request.semver,
            created_s=request.created_s,
        )
        write_durably(work / CARD_NAME, json.dumps(card, indent=1, ensure_ascii=False).encode())
        release = _describe(request, model, float_manifest, tensors, work)
        _write_targets(release, work, Path(name) / "out")
        (Path(name) / "out").rename(out)
    return release, agreed


def _checked_accuracy(facts: ReleaseFacts) -> Accuracy:
    accuracy = facts.accuracy
    if accuracy is None:
        raise ReleaseError("--facts: expected accuracy (metric, data_set, float_model, quantized, floor), found none")
    if accuracy.quantized < accuracy.floor:
        raise ReleaseError(
            f"accuracy: expected {accuracy.metric} of at least {accuracy.floor:g} on {accuracy.data_set}, "
            f"found {accuracy.quantized:g}"
        )
    return accuracy


def _check_twins(model: Manifest, twin: Manifest) -> None:
    for what, one, other in (
        ("classes", model.classes, twin.classes),
        ("task", model.task, twin.task),
        ("input size", (model.input.width, model.input.height), (twin.input.width, twin.input.height)),
    ):
        if one != other:
            raise ReleaseError(f"float model: expected the {what} of the model, {one}, found {other}")


def _read_pictures(folder: Path) -> list[npt.NDArray[np.uint8]]:
    import cv2

    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in _PICTURES)
    if not paths:
        raise ReleaseError(f"{folder}: expected pictures to make golden cases of, found none")
    pictures = []
    for path in paths:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise ReleaseError(f"{path}: expected a picture, found something else")
        pictures.append(np.asarray(picture, np.uint8))
    return pictures


def _self_test(folder: Path) -> None:
    report = self_test(folder, _LIMITS)
    if not report.passed:
        raise ReleaseError(f"{folder}: expected to pass the device's self-test, found {report.code}: {report.text}")


def _compare(
    request: Request, pictures: list[npt.NDArray[np.uint8]], progress: Progress
) -> tuple[Agreement, list[npt.NDArray[np.uint8]]]:
    """How far the models agree, and the pictures that make golden cases: both see the same, and something in one."""
    seen: tuple[list[tuple[Detection, ...]], ...] = ([], [])
    with libraries_silenced():  # the runtime's greeting, once a process
        models = [Model.load(folder) for folder in (request.float_dir, request.model_dir)]
    min_score = models[1].min_score
    try:
        for done, picture in enumerate(pictures):
            progress("compare with the float model", done / len(pictures))
            for model, found in zip(models, seen, strict=True):
                found.append(model.predict(picture)[0])
    finally:
        for model in models:
            model.close()
    progress("compare with the float model", 1.0)
    agreed = agreement(*seen, min_score=min_score)
    if agreed.f1 < request.min_agreement:
        raise ReleaseError(f"expected an F1 of {request.min_agreement:g} against the float model, found {agreed}")
    cases = choose_cases(seen[0], seen[1], min_score)
    if not cases:
        raise ReleaseError(
            f"{request.pictures_dir}: no golden cases: in none of the pictures do both models find the same"
        )
    return agreed, [pictures[case] for case in cases]


def _write_folder(request: Request, manifest: Manifest, golden: list[npt.NDArray[np.uint8]], folder: Path) -> Manifest:
    """The folder as a device will have it, with golden cases; tried once more."""
    folder.mkdir()
    shutil.copyfile(request.model_dir / manifest.model.file, folder / manifest.model.file)
    below = request.facts.escalate_below
    if below is not None and not set(below) <= set(manifest.classes):
        raise ReleaseError(f"escalate_below: expected classes of the model, found {', '.join(sorted(below))}")
    version = request.version or manifest.version
    below = manifest.escalate_below if below is None else below
    write_manifest(folder, dataclasses.replace(manifest, version=version, golden=None, escalate_below=below))
    write_golden(folder, golden)
    _self_test(folder)
    return open_model_folder(folder)[0]


def _tensors(folder: Path) -> dict[str, TensorFacts]:
    """The tensors that the device looks at, as the runtime tells them."""
    model = Model.load(folder)
    try:
        return {
            spec.name: TensorFacts(
                shape=tuple(spec.shape),
                dtype=cast("Literal['int8', 'uint8', 'float32']", spec.dtype),  # no other is loaded
                scale=spec.scale,
                zero_point=spec.zero_point,
            )
            for spec in (model.input, *model.outputs.values())
        }
    finally:
        model.close()


def _describe(
    request: Request, model: Manifest, twin: Manifest, tensors: dict[str, TensorFacts], folder: Path
) -> ReleaseManifest:
    facts = request.facts
    accuracy = _checked_accuracy(facts)
    calibration = facts.calibration_sha256
    return ReleaseManifest(
        v=1,
        semver=request.semver,
        created=request.created_s,
        model=model,
        tensors=tensors,
        compat=facts.compat or _default_compat(),
        accuracy=accuracy,
        quantization=Quantization(calibration_sha256=calibration, float_sha256=twin.model.sha256)
        if calibration
        else None,
        files=(describe_file(folder / CARD_NAME),),
        budgets=facts.budgets or {},
        probation=facts.probation or Probation(),
    )


def _default_compat() -> Compat:
    """This version of edgeapp and later, with the runtime that the model was tried on here, or a later one."""
    name, version = installed_runtime().split()
    return Compat(app=AppRange(min=__version__), runtimes={name: ".".join(version.split(".")[:2])})


def _write_targets(release: ReleaseManifest, folder: Path, out: Path) -> None:
    """The release as TUF targets, and the manifest read back as a device reads it."""
    path = f"releases/{release.model.name}/{release.model.version}.json"
    content = json.dumps(without_none(dataclasses.asdict(release)), separators=(",", ":"), ensure_ascii=False).encode()
    if len(content) > JSON_MAX_BYTES:
        raise ReleaseError(f"{path}: expected at most {JSON_MAX_BYTES} bytes, found {len(content)}")
    if read_release(content, path) != release:
        raise ReleaseError(f"{path}: expected to read what was written, found another value")
    (out / path).parent.mkdir(parents=True)
    write_durably(out / path, content)
    (out / "blobs").mkdir()
    for spec in release_files(release):
        shutil.copyfile(folder / spec.file, out / blob_path(spec.sha256))
