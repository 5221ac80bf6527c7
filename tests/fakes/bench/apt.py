"""Debian's packages for any architecture, by an apt state of its own: nothing of the machine changes.

They are those of the machine's own release, verified by apt with its signed index.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from edgeapp.errors import FetchError
from tests.fakes.bench import wheels


class Apt:
    """One architecture's packages. `state` is a folder for apt's lists and archives."""

    def __init__(self, architecture: str, state: Path) -> None:
        """
        Raises:
            FetchError: the lists cannot be fetched.
        """
        self._archives = state / "cache" / "archives"
        for folder in (state / "lists" / "partial", self._archives / "partial"):
            folder.mkdir(parents=True)
        (state / "status").touch()
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures::": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",  # it could not write to a private folder
            "Debug::NoLocking": "true",
            "Dir::Cache": state / "cache",
            "Dir::State": state,
            "Dir::State::lists": state / "lists",
            "Dir::State::status": state / "status",
        }
        self._options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        wheels.run(["apt-get", "-qq", *self._options, "update"])

    def download(self, *names: str) -> list[Path]:
        """The packages and all that they depend on, as files."""
        wheels.run(["apt-get", "-qq", *self._options, "--yes", "--download-only", "install", *names])
        return sorted(self._archives.glob("*.deb"))

    def download_alone(self, name: str) -> Path:
        """A package without what it depends on, as a file."""
        folder = self._archives / name
        folder.mkdir()
        wheels.run(["env", f"--chdir={folder}", "apt-get", "-qq", *self._options, "download", name])
        (package,) = folder.glob("*.deb")
        return package

    def dependency(self, name: str, pattern: str) -> str:
        """The one package that `name` depends on directly and whose name matches `pattern` as a whole.

        Raises:
            FetchError: there is not exactly one.
        """
        command = ["apt-cache", *self._options, "depends", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found: list[str] = [
            one for one in re.findall(r"^  Depends: (\S+)$", done.stdout, re.MULTILINE) if re.fullmatch(pattern, one)
        ]
        if len(found) != 1:
            raise FetchError(f"{name}: expected one dependency named {pattern}, found {found or done.stderr}")
        return found[0]
