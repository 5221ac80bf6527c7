"""Which pictures calibrate and which judge: none does both."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeapp.errors import ConvertError
from edgeapp.manifest import Manifest
from edgeapp.vision.model_folder import read_manifest
from edgeapp.workshop.frame_sets import calibration_sha256, choose, keys_of, prepare, spread
from tests.fakes.tiny_models import make_model_folder

_ALL = tuple(range(100))


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return read_manifest(make_model_folder(tmp_path / "model", dtype="float32"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((40, 60, 3), 50 * number, np.uint8))
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_are_spread_evenly_over_what_there_is() -> None:
    assert spread(_ALL, 4) == (12, 37, 62, 87)
    assert spread(_ALL[:3], 10) == (0, 1, 2)
    assert spread((), 10) == ()


@pytest.mark.parametrize("labelled", [None, set(range(0, 100, 3)), set(_ALL)])
@pytest.mark.parametrize("samples", [5, 50, 90])
def test_no_picture_calibrates_and_judges(labelled: set[str | int] | None, samples: int) -> None:
    choice = choose(_ALL, None, labelled, samples, 30)
    assert not set(choice.calibration) & set(choice.evaluation)
    assert len(choice.calibration) == min(samples, 50)
    assert choice.evaluation
    if labelled is None:
        assert len(choice.evaluation) == 30
    else:
        assert set(choice.evaluation) <= labelled


def test_unlabelled_pictures_calibrate_where_there_are_enough_so_that_all_labelled_ones_judge() -> None:
    labelled = {3, 50, 97}
    assert set(choose(_ALL, None, labelled, 40, 30).evaluation) == labelled


def test_pictures_of_their_own_judge_as_they_are() -> None:
    choice = choose(("a.png", "b.png"), _ALL, {5, 6}, 50, 30)
    assert choice.calibration == ("a.png", "b.png")
    assert choice.evaluation == (5, 6)


def test_nothing_left_for_one_of_the_two_is_told() -> None:
    with pytest.raises(ValueError, match="0 to judge by"):
        choose(_ALL, None, {200}, 10, 30)
    with pytest.raises(ValueError, match="0 pictures to calibrate with"):
        choose((7,), None, None, 10, 30)


def test_hash_changes_with_the_choice_and_with_the_pictures(folder: Path, manifest: Manifest) -> None:
    keys = keys_of(folder, manifest)
    assert keys == ("0.png", "1.png", "2.png", "3.png")
    first = calibration_sha256(folder, keys)
    assert len({first, calibration_sha256(folder, keys[:3]), calibration_sha256(folder, keys)}) == 2
    cv2.imwrite(str(folder / "2.png"), np.zeros((40, 60, 3), np.uint8))
    assert calibration_sha256(folder, keys) != first


def test_prepared_inputs_are_what_the_device_would_give_and_all_levels_are_counted(
    folder: Path, manifest: Manifest
) -> None:
    prepared = prepare(folder, ("1.png", "3.png"), manifest)
    assert [float(values.mean()) for values in prepared.inputs] == pytest.approx([50 / 255, 150 / 255])
    assert {values.shape for values in prepared.inputs} == {(1, 32, 32, 3)}
    assert set(np.flatnonzero(prepared.levels)) == {50, 150}


def test_a_folder_without_pictures_is_told(tmp_path: Path, manifest: Manifest) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConvertError, match="found no picture"):
        keys_of(tmp_path / "empty", manifest)
