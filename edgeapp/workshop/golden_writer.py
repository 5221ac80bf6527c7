"""Writing golden cases into a model folder: inputs, what the model answers to them here, and the manifest's entry.

Owns the making of the file; its form is `edgeapp.vision.golden`'s. Choose inputs of the kind that the device will
see, some with and some without what is to be found: what no case touches, no case guards.
"""

from __future__ import annotations

import dataclasses
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeapp.manifest import GoldenSpec
from edgeapp.system.files import write_durably
from edgeapp.vision.golden import INPUT, MAX_CASES, OUTPUT_PREFIX, say_the_same, without_leftovers
from edgeapp.vision.model import Model
from edgeapp.workshop.agreement import Frames
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

GOLDEN_NAME = "golden.npz"


def choose_cases(reference: Frames, edge: Frames, min_score: float, most: int = 8) -> list[int]:
    """Which pictures make golden cases: both models see the same in them. Where nothing is to be seen in up to a
    quarter, and something in the others; none where there is no picture of the second kind."""
    same = [
        (index, any(one.score >= min_score for one in expected))
        for index, (expected, found) in enumerate(zip(reference, edge, strict=True))
        if say_the_same(expected, found, min_score)
    ]
    telling = [index for index, is_telling in same if is_telling]
    silent = [index for index, is_telling in same if not is_telling]
    telling = telling[: most - min(len(silent), most // 4)]
    return [*telling, *silent[: most - len(telling)]] if telling else []


def write_golden(
    folder: Path,
    pictures: Sequence[npt.NDArray[np.uint8]],
    *,
    max_steps: int = 24,
    min_agreement: float = 1.0,
    name: str = GOLDEN_NAME,
) -> GoldenSpec:
    """Preprocess `pictures` (each uint8 [height, width, 3], BGR), run the folder's model, and write both down.

    Raises:
        ManifestError, ModelError: the folder's model cannot be used.
        ValueError: no pictures, or too many.
    """
    if not 1 <= len(pictures) <= MAX_CASES:
        raise ValueError(f"golden cases: expected 1 to {MAX_CASES} pictures, found {len(pictures)}")
    model = Model.load(folder)
    try:
        inputs = [model.preprocess(picture) for picture in pictures]
        answers = [model.run(values)[0] for values in inputs]
        manifest = model.manifest
    finally:
        model.close()
    if manifest.output.decoder == "ssd_postprocess":
        answers = [without_leftovers(answer) for answer in answers]
    arrays: dict[str, npt.NDArray[Any]] = {INPUT: np.stack(inputs)}
    for role in answers[0]:
        arrays[f"{OUTPUT_PREFIX}{role}"] = np.stack([answer[role] for answer in answers])
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_durably(folder / name, content.getvalue())
    golden = GoldenSpec(cases=describe_file(folder / name), max_steps=max_steps, min_agreement=min_agreement)
    write_manifest(folder, dataclasses.replace(manifest, golden=golden))
    return golden
