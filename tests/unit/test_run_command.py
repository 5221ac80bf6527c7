"""`edgeapp run` starts vision before it loads anything, or leaves it to whoever else runs it; Python's audit tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeapp.supervisor import EXIT_CONFIG

_AUDITED = """
import sys
def tell(event, arguments):
    if event == "os.fork":
        print("forked", flush=True)
    if event == "import" and arguments[0] == "argparse":
        print("arguments read", flush=True)
    if event == "open" and str(arguments[0]) == sys.argv[1]:
        print("configuration looked for", flush=True)
sys.addaudithook(tell)
from edgeapp.cli import main
sys.exit(main(["run", "--config", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(("options", "is_started"), [((), True), (("--vision-apart",), False)])
def test_a_vision_that_others_run_is_not_started_before_the_configuration_is_read(
    tmp_path: Path, options: tuple[str, ...], is_started: bool
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("vision: {socket: /nowhere/vision.sock}\nunknown: 1\n")  # refused, so that nothing else begins
    command = [sys.executable, "-c", _AUDITED, str(config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CONFIG, done.stderr
    told = ("forked", "arguments", "configuration")
    *before, read, looked = [line for line in done.stdout.splitlines() if line.startswith(told)]
    assert (read, looked) == ("arguments read", "configuration looked for")
    assert before == ["forked"] * is_started
