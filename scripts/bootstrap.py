"""Makes the checkout's virtual environment, with a progress bar. Standard library only: nothing is installed yet.

Called by scripts/demo, scripts/test and scripts/check. Installs requirements.lock (every package pinned by hash) and
edgeapp itself from this checkout. Does nothing when the environment was made from the same lock and the same Python;
an interrupted run leaves no mark, and the next one finishes the work.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
LOCK = CHECKOUT / "requirements.lock"
_STEP = re.compile(r"^(Collecting|Installing collected|Downloading|Using cached|Successfully) ?")
_BAR_WIDTH = 28


class Bar:
    """One line that fills; plain lines, seldom, where nobody watches a terminal."""

    def __init__(self, title: str) -> None:
        self._title, self._shown, self._is_live = title, -1.0, sys.stderr.isatty()
        self._began = time.monotonic()

    def show(self, share: float, text: str) -> None:
        if not self._is_live:
            if share - self._shown >= 0.25 or share >= 1.0 > self._shown:
                self._shown = share
                print(f"{self._title}: {share:4.0%} {text}", file=sys.stderr, flush=True)
            return
        full = round(share * _BAR_WIDTH)
        width = shutil.get_terminal_size().columns - 1
        line = f"{self._title} [{'#' * full}{'.' * (_BAR_WIDTH - full)}] {share:4.0%} {text}"
        print(f"\r{line[:width]:<{width}}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        self.show(1.0, f"done in {time.monotonic() - self._began:.0f} s")
        if self._is_live:
            print(file=sys.stderr)


def main() -> int:
    folder = Path(os.environ.get("EDGEAPP_VENV", CHECKOUT / ".venv"))
    if sys.version_info < (3, 11):
        print(f"edgeapp needs Python 3.11 or later, found {sys.version.split()[0]}", file=sys.stderr)
        return 2
    mark, wanted = folder / "edgeapp.lock.sha256", _identity()
    if mark.is_file() and mark.read_text() == wanted and (folder / "bin" / "python").exists():
        return 0
    mark.unlink(missing_ok=True)
    bar = Bar("setting up the environment")
    bar.show(0.0, f"Python {sys.version.split()[0]} in {folder.name}")
    try:
        # An environment of another Python is begun anew; a half-made one of the same Python is gone on with.
        venv.create(folder, with_pip=True, symlinks=True, clear=not _is_same_python(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"\n{folder}: the environment cannot be made ({error}).", file=sys.stderr)
        print("On Debian this needs: apt-get install python3-venv", file=sys.stderr)
        return 2
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
    packages = len(re.findall(r"(?m)^[A-Za-z0-9].*==", LOCK.read_text()))
    # The lock names every package, so pip need resolve nothing: for `coverage[toml]` an older pip looks past the lock's
    # `coverage`, and fails once the index has a newer one.
    status = run_pip([*pip, "--no-deps", "--require-hashes", "--requirement", str(LOCK)], bar, packages)
    if status == 0:
        # Build tools come from the lock too, so nothing unpinned is fetched.
        status = run_pip([*pip, "--no-deps", "--no-build-isolation", "--editable", str(CHECKOUT)], bar, packages)
    if status == 0:
        mark.write_text(wanted)
        bar.end()
    return status


def _identity() -> str:
    text = (
        LOCK.read_bytes() + (CHECKOUT / "pyproject.toml").read_bytes() + sys.version.encode() + str(CHECKOUT).encode()
    )
    return hashlib.sha256(text).hexdigest()


def _is_same_python(folder: Path) -> bool:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (folder / "lib" / f"python{version}").is_dir() and (folder / "bin" / "pip").exists()


def run_pip(command: list[str], bar: Bar, packages: int) -> int:
    """Run pip, show how far it is; when it fails, show all it said."""
    said, seen = [], set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            stripped = line.strip()
            if stripped.startswith("Collecting"):
                seen.add(stripped.split()[1].split("==")[0])
            if _STEP.match(stripped):
                is_last = stripped.startswith("Installing collected")
                share = 0.9 if is_last else min(0.88, 0.88 * len(seen) / packages)
                bar.show(share, "installing" if is_last else stripped.split(" (")[0].split(";")[0][:50])
    if process.returncode != 0:
        print("\n" + "".join(said[-40:]), file=sys.stderr)
        print("That did not work; the lines above are pip's.", file=sys.stderr)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
