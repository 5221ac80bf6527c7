"""A release's manifest says all that vision needs, once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.manifest import Manifest, manifest_json
from edgeapp.reader import read_json
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.release import (
    ReleaseManifest,
    TensorFacts,
    check_compatible,
    check_tensors,
    read_release,
    read_status,
    release_files,
    security_floor,
)
from tests.fakes.attacks import FACTS
from tests.fakes.releases import manifest

PATH = "releases/person/7.json"


def read(**changes: Any) -> ReleaseManifest:
    return read_release(json.dumps(manifest(**changes)).encode(), PATH)


def test_model_folder_is_written_from_the_manifest_alone() -> None:
    release = read(files=[{"file": "bom.cdx.json", "sha256": "c" * 64, "size_bytes": 9}])
    assert read_json(Manifest, manifest_json(release.model), "model.json") == release.model
    assert [spec.file for spec in release_files(release)] == ["model.tflite", "golden.npz", "bom.cdx.json"]


@given(key=st.sampled_from(sorted(manifest())), value=st.none() | st.integers() | st.text() | st.just([[]]))
def test_manifest_with_any_value_in_place_of_another_is_read_or_refused(key: str, value: Any) -> None:
    try:
        release = read(**{key: value})
    except UpdateError as error:
        code = error.code
    else:
        code = "read" if key in ("created", "semver", "v") or getattr(release, key) is None else "misread"
    assert code in ("E_PARSE", "read")


@pytest.mark.parametrize(
    "custom", [{}, {"version": "7"}, {"version": 7, "floor": 1}, {"version": 8}, {"version": float("nan")}]
)
def test_status_that_is_none_is_refused(custom: dict[str, Any]) -> None:
    with pytest.raises(UpdateError) as caught:
        read_status(custom, PATH)
    assert caught.value.code == "E_PARSE"


def test_security_floor_is_the_highest_that_was_ever_told() -> None:
    customs: list[dict[str, Any]] = [{"security_floor": 5}, {}, {"security_floor": True}, {"security_floor": "9"}]
    assert security_floor(customs, 3) == 5
    assert security_floor(customs, 6) == 6


@pytest.mark.parametrize(
    ("app", "version", "fits"),
    [
        ({"min": "0.1"}, "0.1.0", True),
        ({"min": "0.1.1"}, "0.1.0", False),
        ({"min": "0.9"}, "0.10.2", True),
        ({"min": "0.1", "below": "0.3"}, "0.3.0", False),
        ({"min": "0.1", "below": "0.3"}, "0.2.9.dev4", True),
    ],
)
def test_versions_compare_by_their_numbers(app: dict[str, str], version: str, fits: bool) -> None:
    release = read(compat={**manifest()["compat"], "app": app})
    refusal = check_compatible(release, dataclasses.replace(FACTS, app_version=version))
    assert (refusal is None) == fits
    assert fits or (refusal is not None and refusal.code is Code.E_COMPAT_APP)


def test_release_for_this_board_and_what_it_has_fits() -> None:
    compat = {"boards": ["Raspberry Pi 5", "Raspberry Pi 4"], "arch": ["aarch64"], "delegates": ["xnnpack"]}
    assert check_compatible(read(compat={**manifest()["compat"], **compat, "min_ram_mb": 900}), FACTS) is None


def test_tensors_of_the_file_are_held_against_the_manifest() -> None:
    release = read()
    image = TensorFacts(shape=(1, 320, 320, 3), dtype="int8", scale=0.0078, zero_point=-1)
    assert check_tensors(release, {"image": image, "scores": image}) is None
    for found in ({}, {"image": dataclasses.replace(image, zero_point=0)}):
        refusal = check_tensors(release, found)
        assert refusal is not None
        assert refusal.code is Code.E_COMPAT_IO
