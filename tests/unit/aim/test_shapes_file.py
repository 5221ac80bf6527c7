"""What the page draws comes into the configuration file, whole, checked, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeapp import config_file
from edgeapp.aim.shapes_file import ConflictError, ShapesFile
from edgeapp.config_change import effect
from edgeapp.errors import AimError, ConfigError, ManifestError

SHIPPED = (Path(__file__).parents[3] / "config.yaml").read_text()
MASK = [[0, 0], [0.3, 0], [0.3, 0.4]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(SHIPPED)
    return path


def drawn(file: ShapesFile, **counting: Any) -> bytes:
    version = file.read()
    config = version.config.counting
    lines = [{"name": each.name, "start": each.start, "end": each.end} for each in config.lines]
    zones = [{"name": each.name, "polygon": each.polygon} for each in config.zones]
    page = {"base": version.base, "camera": {"masks": [MASK]}, "counting": {"lines": lines, "zones": zones, **counting}}
    return json.dumps(page).encode()


def test_a_mask_comes_into_the_file_and_what_it_takes_is_told(path: Path) -> None:
    file = ShapesFile(path)
    version = file.write(drawn(file))
    assert version.config == config_file.load(path)
    assert version.config.camera.masks == (((0, 0), (0.3, 0), (0.3, 0.4)),)
    assert [(change.key, effect(change.key)) for change in version.changes] == [("camera.masks", "vision")]
    assert file.read().base == version.base
    assert path.read_text() == SHIPPED.replace("masks: []", "masks:\n    - [[0, 0], [0.3, 0], [0.3, 0.4]]")


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(path: Path) -> None:
    file = ShapesFile(path)
    body = drawn(file)
    changed = SHIPPED.replace("fps: 15.0", "fps: 20.0")
    path.write_text(changed)
    with pytest.raises(ConflictError):
        file.write(body)
    assert path.read_text() == changed


@pytest.mark.parametrize(
    ("counting", "said"),
    [
        (
            {"zones": [{"name": "a", "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}]},
            "expected sides that do not meet, found sides 1 and 3 meeting",
        ),
        ({"lines": [{"name": "a", "start": [0.1, 0], "end": [0.1, 0]}]}, "expected another point than start"),
        (
            {"lines": [{"name": "a", "start": [0, 0], "end": [1, 0.5]}] * 2},
            "expected a name of its own, found a a second",
        ),
    ],
)
def test_a_mistake_is_refused_with_the_words_of_check_config(path: Path, counting: dict[str, Any], said: str) -> None:
    file = ShapesFile(path)
    with pytest.raises(ConfigError, match=said) as refused:
        file.write(drawn(file, **counting))
    assert f"{path}:" in str(refused.value), "with its line"
    assert path.read_text() == SHIPPED


@pytest.mark.parametrize(
    ("counting", "said"),
    [
        (
            {"lines": [{"name": "Front Door", "start": [0, 0], "end": [1, 1]}]},
            "counting.lines.0..name: expected 1 to 63",
        ),
        (
            {"lines": [{"name": "a\n- b: c", "start": [0, 0], "end": [1, 1]}]},
            "counting.lines.0..name: expected 1 to 63",
        ),
        (
            {"lines": [{"name": "a", "start": [0, 0], "end": [1, 1.5]}]},
            "expected 0 to 1 share of the picture, found 1.5",
        ),
        ({"zones": [{"name": "a", "polygon": [[0, 0], [1, 1]]}]}, "expected a list of 3 to 64 corners, found 2"),
        ({"zones": [], "more": 1}, "unknown key"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_nothing_of_it_is_written(
    path: Path, counting: dict[str, Any], said: str
) -> None:
    file = ShapesFile(path)
    with pytest.raises(ManifestError, match=said):
        file.write(drawn(file, **counting))
    assert path.read_text() == SHIPPED


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"base": 1}', b"\xff", b"[" * 9999])
def test_what_is_no_drawing_is_refused(path: Path, body: bytes) -> None:
    with pytest.raises(ManifestError):
        ShapesFile(path).write(body)
    assert path.read_text() == SHIPPED


def test_a_file_written_in_a_way_that_is_not_known_is_left_alone(path: Path) -> None:
    # Valid, and read as a person means it; but an edit by lines and columns would put the list in the wrong place.
    odd = SHIPPED.replace(
        "  masks: []\n", "  ? masks\n  : - [[0, 0], [0.3, 0], [0.3, 0.1]]\n    - [[0, 0], [0.3, 0], [0.3, 0.2]]\n"
    )
    path.write_text(odd)
    file = ShapesFile(path)
    body = json.loads(drawn(file))
    body["camera"]["masks"] = []
    with pytest.raises((AimError, ConfigError)):
        file.write(json.dumps(body).encode())
    assert path.read_text() == odd


def test_who_may_read_the_file_stays_as_it_was(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 0, 4242)
    before = path.stat()
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    file = ShapesFile(link)
    file.write(drawn(file))
    after = path.stat()
    assert link.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino, "replaced in one step, not written in place"
    assert {entry.name for entry in tmp_path.iterdir()} == {"config.yaml", "link.yaml"}


def test_a_file_that_is_gone_or_cannot_be_replaced_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ShapesFile(path)
    body = drawn(file)

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(AimError, match="cannot be written: Permission denied; run edgeapp aim as root"):
            file.write(body)
    assert path.read_text() == SHIPPED
    path.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        file.read()
