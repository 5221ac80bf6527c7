"""The README's walk through an update, typed as it is written, on the demo's model and a broker of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_EXPECTED_STATUS = {9: 1}  # of the command by its number: the bad release is not installed
_START_S = 60.0
_PROBATION = {"min_frames": 1, "max_p95_ratio": 100.0}  # a busy core infers few frames, and unevenly


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Path]:
    """What `./scripts/demo --desk` lays out, while its broker runs."""
    desk = tmp_path / "desk"
    command = [sys.executable, "-m", "edgeapp.workshop.demo", "--desk", str(desk)]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as stage:
        assert stage.stdout is not None
        deadline_s = time.monotonic() + _START_S
        while "ten commands" not in (said := stage.stdout.readline()):
            assert said, "the desk is not laid out"
            assert time.monotonic() < deadline_s
        facts = json.loads((desk / "facts.json").read_text())
        facts["probation"].update(_PROBATION)
        (desk / "facts.json").write_text(json.dumps(facts))
        yield desk
        stage.terminate()
    assert stage.returncode == 0


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The commands as they are installed; but the clock of this machine may be nobody's care."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, module in (("edgeapp", "tests.fakes.synchronised_daemon"), ("edgeapp-workshop", "edgeapp.workshop.cli")):
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def _walk_through() -> list[tuple[str, list[str]]]:
    """The README's ten commands, each with the lines that are shown below it."""
    text = (_ROOT / "README.md").read_text()
    (block,) = (one for one in re.findall(r"^```sh\n(.+?)^```", text, re.MULTILINE | re.DOTALL) if "keys init" in one)
    steps: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("#  "):
            steps[-1][1].append(line.removeprefix("#  "))
        else:
            steps.append((line, []))
    return steps


def test_from_no_keys_to_a_rolled_back_bad_model_in_ten_commands_as_written(desk: Path, programs: Path) -> None:
    steps = _walk_through()
    assert len(steps) == 10
    lines = [f"export PATH={programs}:$PATH"]
    for number, (command, _) in enumerate(steps, start=1):
        lines += [command, f'echo "== status of {number}: $?"']
    script = "\n".join([*lines, "kill $!", "wait"])
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], cwd=desk, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    log = (desk / "device.log").read_text()
    parts = re.split(r"== status of \d+: (\d+)\n", done.stdout)
    for number, (command, shown) in enumerate(steps, start=1):
        output, status = parts[2 * number - 2], int(parts[2 * number - 1])
        assert status == _EXPECTED_STATUS.get(number, 0), (command, output, done.stderr, log)
        for line in shown:
            pattern = ".*".join(re.escape(part) for part in line.split("…"))
            assert re.search(f"^{pattern}$", output, re.MULTILINE), (line, output)
    assert re.search(r"install-2: rolled_back E_TRIAL_AGREEMENT", log)
