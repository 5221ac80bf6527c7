"""Wheels of requirements.lock for another Python or processor than this one, put into a folder by pip."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeapp.errors import FetchError

LOCK = Path(__file__).parents[3] / "requirements.lock"
_GLIBC_MINORS = range(17, 35)  # manylinux tags; pip takes each for itself only


def install_wheels(site: Path, names: Sequence[str], *, python_version: str, machine: str) -> None:
    """Install the packages, as pinned with their hashes and without what they depend on.

    Args:
        site: the folder; beside it stays what was asked for, as requirements.txt.
        python_version: as "3.11".
        machine: as `uname -m` names it.

    Raises:
        FetchError: pip cannot get them.
    """
    pins = re.split(r"(?m)^(?=[A-Za-z0-9])", LOCK.read_text())
    requirements = site.parent / "requirements.txt"
    requirements.write_text("".join(pin for pin in pins if re.split(r"==|\[", pin)[0] in names))
    platforms = [f"manylinux2014_{machine}", *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS)]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(site)]
    command += ["--python-version", python_version, "--implementation", "cp"]
    command += [word for name in platforms for word in ("--platform", name)]
    command += [word for name in (f"cp{python_version.replace('.', '')}", "abi3", "none") for word in ("--abi", name)]
    run([*command, "--requirement", str(requirements)])


def run(command: list[str]) -> None:
    """Run a program that fetches or unpacks something.

    Raises:
        FetchError: it is not installed, or fails; with its last words.
    """
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise FetchError(f"needs {command[0]}, which is not installed") from None
    if done.returncode != 0:
        words = " ".join(done.stderr.split())[-400:]
        raise FetchError(f"{command[0]}: expected status 0, found {done.returncode}: {words}")
