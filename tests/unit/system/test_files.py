"""A file is whole or not there, and one state folder has one daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeapp.errors import AlreadyRunningError
from edgeapp.system import files


@pytest.mark.parametrize("write", [files.replace_quickly, files.write_durably])
def test_a_file_is_replaced_in_one_step(tmp_path: Path, write: object) -> None:
    assert callable(write)
    path = tmp_path / "state"
    path.write_bytes(b"old")
    inode = path.stat().st_ino
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != inode, "written in place: a reader could see half of it"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "kept").write_bytes(b"old")
    with pytest.raises(OSError, match="directory"):
        files.write_durably(folder, b"new")
    assert (folder / "kept").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_write_that_the_kernel_takes_in_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:3]))
    files.write_durably(tmp_path / "state", b"0123456789")
    assert (tmp_path / "state").read_bytes() == b"0123456789"


def test_a_folder_of_links_takes_the_place_of_what_had_its_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    folder = tmp_path / "folder"
    for leftover in (folder, tmp_path / ".folder.new"):
        leftover.mkdir()
        (leftover / "old").write_text("old")
    files.link_durably(folder, {"a": tmp_path / "one", "b": tmp_path / "two"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "one", "b": "two"}
    assert (folder / "a").samefile(tmp_path / "one")
    assert not (tmp_path / ".folder.new").exists()


def test_a_moved_file_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "part").write_text("whole")
    files.move_durably(tmp_path / "part", tmp_path / "blob")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("blob", "whole")]


def test_a_second_daemon_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    lock = files.hold_lock(tmp_path / "lock")
    with pytest.raises(AlreadyRunningError, match=str(os.getpid())):
        files.hold_lock(tmp_path / "lock")
    assert files.is_locked(tmp_path / "lock")
    os.close(lock)
    assert not files.is_locked(tmp_path / "lock")


def test_a_killed_holder_holds_no_lock(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from edgeapp.system.files import hold_lock\n"
    code += "held = hold_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    assert files.is_locked(tmp_path / "lock")
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert not files.is_locked(tmp_path / "lock")


def test_no_lock_file_means_not_running(tmp_path: Path) -> None:
    assert not files.is_locked(tmp_path / "lock")
