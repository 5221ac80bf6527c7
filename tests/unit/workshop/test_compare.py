"""Comparing real models: two honest builds are equal, and each planted fault is found in its stage and its layer."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest

from edgeapp.errors import CompareError, ManifestError
from edgeapp.vision.golden import INPUT, OUTPUT_PREFIX
from edgeapp.vision.model import Model
from edgeapp.vision.model_folder import read_manifest
from edgeapp.vision.tensor import TensorSpec
from edgeapp.workshop import cli
from edgeapp.workshop.compare import Request, compare, read_original
from edgeapp.workshop.model_folder_writer import write_manifest
from edgeapp.workshop.places import Here
from edgeapp.workshop.stages import Comparison
from tests.fakes.delegates import shim
from tests.fakes.planted_faults import Planter, swap_colours
from tests.fakes.tiny_models import make_model_folder
from tests.fakes.tiny_twins import make_float, make_int8, pictures

_SHOWN = pictures(12, 3)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A float model, and two int8 builds that were calibrated on other pictures."""
    folder = tmp_path_factory.mktemp("builds")
    reference = make_float(folder / "float")
    one, other = (make_int8(reference, folder / f"int8-{seed}", pictures(3, seed)) for seed in (1, 2))
    assert (one / "model.tflite").read_bytes() != (other / "model.tflite").read_bytes()
    return reference, one, other


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown")
    for number, picture in enumerate(_SHOWN):
        cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    return folder


def _compare(request: Request) -> Comparison:
    named = [(str(number), picture) for number, picture in enumerate(_SHOWN)]
    return compare(request, named, Here()).comparison


def test_two_honest_builds_are_equal_to_their_reference_and_to_each_other(builds: tuple[Path, Path, Path]) -> None:
    reference, one, other = builds
    for pair in ((reference, one), (reference, other), (one, other), (reference, reference)):
        found = _compare(Request(reference=pair[0], edge=pair[1]))
        assert found.headline == "Equal"
        assert [stage.answer for stage in found.stages] == ["agrees"] * 3
        assert all(stage.layers for stage in found.stages[1:])


def test_a_wrong_zero_point_is_found_in_quantization_and_in_its_layer(
    builds: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    planter, random = Planter(builds[1], _SHOWN), np.random.default_rng(5)
    for number in range(4):
        planted = planter.plant(tmp_path / str(number), random)
        culprit = _compare(Request(reference=builds[0], edge=planted.folder)).culprit
        assert culprit is not None
        assert (culprit.name, culprit.layer and culprit.layer.index) == ("quantization", planted.layer.index)


def test_a_delegate_that_gives_noise_is_found_in_compilation_and_in_its_layer(
    builds: tuple[Path, Path, Path],
) -> None:
    for node in (0, 5, 11):
        delegate = shim("noise", node=node)
        culprit = _compare(Request(reference=builds[0], edge=builds[1], delegate=delegate)).culprit
        assert culprit is not None
        assert (culprit.name, culprit.layer and culprit.layer.index) == ("compilation", node)


def test_swapped_colours_are_found_in_preprocessing_alone(builds: tuple[Path, Path, Path], tmp_path: Path) -> None:
    swap_colours(builds[1], tmp_path / "swapped")
    found = _compare(Request(reference=builds[0], edge=tmp_path / "swapped"))
    assert [stage.answer for stage in found.stages] == ["diverges", "agrees", "agrees"]
    assert "red and blue are swapped" in found.stages[0].text


def test_what_a_delegate_does_is_an_answer_and_never_the_end(builds: tuple[Path, Path, Path]) -> None:
    for behaviour, answer, said in (
        ("crash_invoke", "diverges", "SIGSEGV"),
        ("fail_invoke", "diverges", "invoke failed"),
        ("refuse", "not compared", "no accelerator was found"),
        ("take_none", "not compared", "took none"),
        ("take", "agrees", "libshim.so took"),
    ):
        stage = _compare(Request(reference=builds[0], edge=builds[1], delegate=shim(behaviour))).stages[-1]
        assert (stage.name, stage.answer) == ("compilation", answer)
        assert said in stage.text


def test_the_original_frameworks_outputs_judge_the_conversion(builds: tuple[Path, Path, Path], tmp_path: Path) -> None:
    model = Model.load(builds[0], delegate="none")
    inputs = [model.preprocess(picture) for picture in _SHOWN[:3]]
    outputs = [model.run(values)[0] for values in inputs]
    for offset, answer in ((0.0, "agrees"), (0.05, "diverges")):
        arrays = {f"{OUTPUT_PREFIX}{role}": np.stack([one[role] for one in outputs]) for role in outputs[0]}
        arrays[f"{OUTPUT_PREFIX}scores"] = np.clip(arrays[f"{OUTPUT_PREFIX}scores"] - np.float32(offset), 0, 1)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{INPUT: np.stack(inputs)}, **arrays)
        path = tmp_path / f"{answer}.npz"
        path.write_bytes(content.getvalue())
        found = _compare(Request(reference=builds[0], edge=builds[1], original=path))
        assert (found.stages[0].name, found.stages[0].answer) == ("conversion", answer)


def test_what_convert_kept_is_read_by_the_names_of_tensors(tmp_path: Path) -> None:
    boxes, scores = (np.arange(4 * size, dtype=np.float32).reshape(2, 1, 2, size) for size in (4, 2))
    specs = {
        "boxes": TensorSpec("Identity_1", (1, 2, 4), "float32"),
        "scores": TensorSpec("Identity", (1, 2, 2), "float32"),
    }
    model = cast(Model, SimpleNamespace(input=TensorSpec("x", (1, 3), "float32"), outputs=specs))
    given = {INPUT: np.zeros((2, 1, 3), np.float32)}
    path = tmp_path / "original.npz"
    for names in (("Identity_1", "Identity"), ("boxes", "scores")):
        more = {f"{OUTPUT_PREFIX}unused": scores} if "boxes" not in names else {}
        both = {f"{OUTPUT_PREFIX}{name}": values for name, values in zip(names, (boxes, scores), strict=True)}
        np.savez(path, allow_pickle=False, **given, **both, **more)
        cases = read_original(path, model)
        np.testing.assert_array_equal(cases.outputs["boxes"], boxes)
        np.testing.assert_array_equal(cases.outputs["scores"], scores)
    np.savez(path, allow_pickle=False, **given, **{f"{OUTPUT_PREFIX}Identity": scores})
    with pytest.raises(ManifestError, match=r"expected \['input', 'output.boxes', 'output.scores'\]"):
        read_original(path, model)


def test_models_that_are_no_twins_are_refused(builds: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = make_model_folder(tmp_path / "other", classes=("thing",))
    with pytest.raises(CompareError, match="expected the input shape of the reference"):
        _compare(Request(reference=builds[0], edge=other))
    manifest = read_manifest(builds[1])
    for name in ("model.tflite", "model.json"):
        (tmp_path / name).write_bytes((builds[1] / name).read_bytes())
    write_manifest(tmp_path, dataclasses.replace(manifest, classes=("person",)))
    with pytest.raises(CompareError, match="expected the classes of the reference"):
        _compare(Request(reference=builds[0], edge=tmp_path))


def test_the_command_writes_page_document_sheet_and_pictures_for_golden_cases(
    builds: tuple[Path, Path, Path], shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, golden = tmp_path / "page.html", tmp_path / "golden"
    arguments = ["--reference", str(builds[0]), "--edge", str(builds[1]), "--pictures", str(shown)]
    assert cli.main(["compare", *arguments, "--out", str(out), "--golden", str(golden), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["headline"] == "Equal"
    assert len(list(golden.glob("*.png"))) == printed["golden"] > 0
    assert json.loads(out.with_suffix(".json").read_text()) == printed["comparison"]
    page = out.read_text()
    assert page.count("<svg") == 2
    assert "data:image/png;base64," in page
    assert "<script" not in page
    assert "://" not in page.replace("data:image", "")
    assert cv2.imread(str(out.with_suffix(".png"))) is not None


def test_the_exit_status_is_the_answer(
    builds: tuple[Path, Path, Path], shown: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swap_colours(builds[1], tmp_path / "swapped")
    out = ["--out", str(tmp_path / "page.html"), "--pictures", str(shown)]
    library = shim("refuse")
    options = [word for key, value in library.options.items() for word in ("--delegate-option", f"{key}={value}")]
    both = ["--reference", str(builds[0]), "--edge"]
    assert cli.main(["compare", *both, str(tmp_path / "swapped"), *out]) == 1
    assert "They part in preprocessing" in capsys.readouterr().out
    assert cli.main(["compare", *both, str(builds[1]), *out, "--delegate", library.library, *options]) == 2
    assert "not compared: compilation" in capsys.readouterr().out
    assert cli.main(["compare", *both, str(tmp_path / "nothing"), *out]) == 2
    assert "expected a model folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "page.json"], "expected the name of the page"),
        (["--count", "0"], "expected at least 1"),
        (["--golden", "."], "expected nothing at"),
        (["--delegate-option", "x"], "expected KEY=VALUE"),
        (["--delegate-option", "x=1"], "expected with a library"),
        (["--pictures", "nowhere"], "nowhere: expected a video or a folder of pictures, found"),
        (["--device", "device.local/folder"], "expected ssh://user@host"),
        (["--device", "ssh://-oProxyCommand=x"], "expected ssh://user@host"),
    ],
)
def test_what_cannot_be_compared_is_told(
    builds: tuple[Path, Path, Path], shown: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["--reference", str(builds[0]), "--edge", str(builds[1]), "--pictures", str(shown)]
    assert cli.main(["compare", *both, *arguments]) == 2
    assert said in capsys.readouterr().err
