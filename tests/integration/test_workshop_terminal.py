"""The workshop's commands at a real (pseudo-)terminal: what is asked, and what an answer does."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes.workshop_lab import new_desk

_ROOT = Path(__file__).parents[2]
_LIMIT_S = 60.0


def _type(folder: Path, command: str, *answers: tuple[str, str]) -> tuple[int, str]:
    """Run a command, answer each question with a line; its status and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ.update(PYTHONPATH=str(_ROOT), TERM="xterm")
        os.execv(sys.executable, [sys.executable, "-m", "edgeapp.workshop.cli", *command.split()])
    shown, read_to, deadline_s = "", 0, time.monotonic() + _LIMIT_S
    waiting = list(answers)
    try:
        while time.monotonic() < deadline_s:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                shown += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # the other end is closed
                break
            while waiting and waiting[0][0] in shown[read_to:]:
                read_to = shown.index(waiting[0][0], read_to) + len(waiting[0][0])
                os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    finally:
        os.close(terminal)
    assert not waiting, shown
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def test_a_passphrase_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    asked = ("Passphrase of keys: ", "open sesame"), ("Once more: ", "open barley")
    status, shown = _type(tmp_path, "keys init", *asked)
    assert (status, (tmp_path / "keys").exists()) == (1, False)
    assert "expected the same passphrase twice" in shown
    status, shown = _type(tmp_path, "keys init", asked[0], ("Once more: ", "open sesame"))
    assert status == 0
    assert "open sesame" not in shown
    status, shown = _type(tmp_path, "repository refresh", asked[0])
    assert (status, "signed anew" in shown) == (0, True)
    status, shown = _type(tmp_path, "repository refresh", ("Passphrase of keys: ", "open barley"))
    assert (status, "expected the passphrase of this key" in shown) == (1, True)


@pytest.mark.parametrize(("answer", "status"), [("yes", 0), ("y", 1), ("", 1)])
def test_a_signature_is_given_only_to_the_word_yes(tmp_path: Path, answer: str, status: int) -> None:
    desk = new_desk(tmp_path, datetime.now(UTC))
    desk.repository.stage_targets(desk.repository.targets(), datetime.now(UTC))
    found, shown = _type(tmp_path, "release sign", ("Sign this? Type yes to go on: ", answer))
    assert found == status
    assert "targets version 2" in shown
    assert "nothing but a later expiry" in shown
    assert (desk.repository.waiting() == []) == (answer == "yes")


def test_progress_is_shown_at_a_terminal(tmp_path: Path) -> None:
    new_desk(tmp_path, datetime.now(UTC))
    status, shown = _type(tmp_path, "release publish --to www")
    assert status == 0
    assert "publish" in shown
    assert "100%" in shown
