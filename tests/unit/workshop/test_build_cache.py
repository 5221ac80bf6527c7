"""Folders that are made once: killed builds, two programs at once, changed files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeapp.errors import ConvertError, FetchError
from edgeapp.workshop.build_cache import INDEX_NAME, cached_folder, is_whole

# Builds half, says so, and goes on when it is told to.
_SLOW_BUILD = """
import sys
from pathlib import Path
from edgeapp.workshop.build_cache import cached_folder

def build(folder):
    (folder / "first").write_text("other program")
    print("half", flush=True)
    sys.stdin.readline()
    (folder / "second").write_text("other program")

cached_folder(Path(sys.argv[1]), "key", build)
"""


def _builder(text: str = "built") -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "first").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "second").write_text(text)

    return build


def _never(folder: Path) -> None:
    raise AssertionError(f"built {folder} again")


def _start_slow_build(root: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", _SLOW_BUILD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    return child


def test_folder_is_built_once_and_then_found(tmp_path: Path) -> None:
    folder, was_there = cached_folder(tmp_path / "root", "key", _builder())
    assert (was_there, (folder / "inner" / "second").read_text()) == (False, "built")
    assert cached_folder(tmp_path / "root", "key", _never) == (folder, True)


def test_another_key_is_another_folder(tmp_path: Path) -> None:
    cached_folder(tmp_path, "one", _builder("one"))
    folder, was_there = cached_folder(tmp_path, "two", _builder("two"))
    assert (was_there, (folder / "first").read_text()) == (False, "two")
    assert (tmp_path / "one" / "first").read_text() == "one"


def test_killed_build_is_not_taken_for_a_finished_one_and_leaves_nothing(tmp_path: Path) -> None:
    child = _start_slow_build(tmp_path)
    child.kill()
    assert child.wait() == -signal.SIGKILL
    folder, was_there = cached_folder(tmp_path, "key", _builder())
    assert (was_there, (folder / "first").read_text()) == (False, "built")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "key"]


def test_second_program_waits_for_the_first_and_takes_its_result(tmp_path: Path) -> None:
    child = _start_slow_build(tmp_path)
    is_waiting = threading.Event()
    results = []
    waiter = threading.Thread(target=lambda: results.append(cached_folder(tmp_path, "key", _never, is_waiting.set)))
    waiter.start()
    assert is_waiting.wait(30)
    child.communicate("go on\n")
    waiter.join(30)
    assert results == [(tmp_path / "key", True)]
    assert (tmp_path / "key" / "second").read_text() == "other program"


def _change(folder: Path) -> None:
    (folder / "first").write_text("BUILT")


def _remove(folder: Path) -> None:
    (folder / "inner" / "second").unlink()


def _add(folder: Path) -> None:
    (folder / "third").write_text("stray")


def _tear(folder: Path) -> None:
    index = folder / INDEX_NAME
    index.write_bytes(index.read_bytes()[:20])


def _empty(folder: Path) -> None:
    (folder / INDEX_NAME).write_text(json.dumps(["not", "an", "index"]))


@pytest.mark.parametrize("damage", [_change, _remove, _add, _tear, _empty])
def test_folder_that_was_changed_is_built_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder, _ = cached_folder(tmp_path, "key", _builder())
    damage(folder)
    assert not is_whole(folder)
    assert cached_folder(tmp_path, "key", _builder()) == (folder, False)
    assert is_whole(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["first", INDEX_NAME, "inner"]


def test_what_a_link_leads_to_is_not_of_the_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("this machine's")

    def build(folder: Path) -> None:
        (folder / "link").symlink_to(elsewhere)

    cached_folder(tmp_path / "cache", "key", build)
    elsewhere.write_text("this machine's, changed")
    assert cached_folder(tmp_path / "cache", "key", _never)[1]


def test_failed_build_passes_its_error_on_and_keeps_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "first").write_text("half")
        raise ConvertError("strange graph")

    with pytest.raises(ConvertError, match="strange graph"):
        cached_folder(tmp_path, "key", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_only_the_newest_folders_are_kept(tmp_path: Path) -> None:
    for number in range(6):
        cached_folder(tmp_path, f"key-{number}", _builder())
    assert sorted(path.name for path in tmp_path.glob("key-*")) == ["key-2", "key-3", "key-4", "key-5"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FetchError, match="file/root"):
        cached_folder(tmp_path / "file" / "root", "key", _builder())
