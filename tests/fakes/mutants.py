"""Damaged copies of a model folder, and what an accepted one is worth. The tests try a few, scripts/switch-drill many.

A copy whose manifest still names the good file is what a torn download or a bad card leaves. One whose hash was made
anew is what a faulty release would be: only loading and golden cases can tell it then.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeapp.errors import ModelError
from edgeapp.vision.golden import GoldenCases, compare
from edgeapp.vision.model import Model
from edgeapp.vision.selftest import SelfTestReport, self_test
from edgeapp.workshop.golden_writer import write_golden
from tests.fakes.tiny_models import bright_spot, make_model_folder

if TYPE_CHECKING:
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]

Verdict = Literal["refused", "equal", "accepted_wrong"]
KINDS = ("one bit", "four bits", "noise", "zeros", "cut")
GOLDEN_STEPS = 2  # the same machine and delegate made the cases, so little may differ
_SIZE_PX = 32


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged copy of a model file. `is_rehashed`: its manifest was made to fit."""

    kind: str
    is_rehashed: bool
    content: bytes


def make_good_folder(folder: Path) -> Path:
    """A tiny detector with golden cases that touch every cell of its grid."""
    make_model_folder(folder, size_px=_SIZE_PX)
    write_golden(folder, pictures(seed=1), max_steps=GOLDEN_STEPS)
    return folder


def pictures(seed: int) -> list[Picture]:
    """Bright spots, plain greys, noise: other ones for each seed."""
    rng = np.random.default_rng(seed)
    spots = [bright_spot(_SIZE_PX, _SIZE_PX, centre=(x, y)) for x, y in rng.uniform(0.1, 0.9, (8, 2))]
    greys = [np.full((_SIZE_PX, _SIZE_PX, 3), level, np.uint8) for level in rng.integers(0, 256, 4)]
    noise = [rng.integers(0, 256, (_SIZE_PX, _SIZE_PX, 3), np.uint8) for _ in range(4)]
    return [*spots, *greys, *noise]


def mutants(good: bytes, count: int, seed: int) -> list[Mutant]:
    """`count` damaged copies, of every kind in turn; three of four with their hash made anew."""
    rng = np.random.default_rng(seed)
    return [
        Mutant(KINDS[index % len(KINDS)], index % 4 != 0, _damage(good, KINDS[index % len(KINDS)], rng))
        for index in range(count)
    ]


def _damage(good: bytes, kind: str, rng: np.random.Generator) -> bytes:
    while True:
        content = bytearray(good)
        if kind == "cut":
            return bytes(content[: int(rng.integers(0, len(good)))])
        if kind in ("one bit", "four bits"):
            for at in rng.integers(0, len(good), 1 if kind == "one bit" else 4):
                content[at] ^= 1 << int(rng.integers(0, 8))
        else:
            length = int(rng.integers(4, 65))
            at = int(rng.integers(0, len(good) - length))
            content[at : at + length] = rng.bytes(length) if kind == "noise" else bytes(length)
        if content != good:
            return bytes(content)


def write_mutant(good: Path, folder: Path, mutant: Mutant) -> Path:
    """A copy of the folder `good` with its model file replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    replace_model(folder, mutant.content, is_rehashed=mutant.is_rehashed)
    return folder


def replace_model(folder: Path, content: bytes, *, is_rehashed: bool) -> None:
    (folder / "model.tflite").write_bytes(content)
    if is_rehashed:
        manifest: dict[str, Any] = json.loads((folder / "model.json").read_text())
        manifest["model"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        (folder / "model.json").write_text(json.dumps(manifest))


class Judge:
    """Knows what the good model says to pictures that its golden cases do not hold."""

    def __init__(self, good: Path, unseen: Sequence[Picture]) -> None:
        model = Model.load(good)
        inputs = [model.preprocess(picture) for picture in unseen]
        answers = [model.run(values)[0] for values in inputs]
        outputs = {role: np.stack([answer[role] for answer in answers]) for role in answers[0]}
        self._cases = GoldenCases(np.stack(inputs), outputs)
        assert any(model.predict(picture)[0] for picture in unseen), "some of the pictures must show something"

    def try_out(self, folder: Path) -> tuple[Verdict, SelfTestReport]:
        """Self-test a folder. One that passes is compared with the good model on the unseen pictures."""
        report = self_test(folder)
        if not report.passed:
            return "refused", report
        model = Model.load(folder)
        try:
            found = compare(model, self._cases)
        except ModelError:
            return "accepted_wrong", report
        finally:
            model.close()
        is_equal = found.worst_steps <= GOLDEN_STEPS and found.agreement == 1.0
        return "equal" if is_equal else "accepted_wrong", report
