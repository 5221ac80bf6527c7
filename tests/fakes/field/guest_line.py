"""Runs in an emulated machine, as root, and does what comes over a line from outside: the other end of `machine.py`.

    python3 guest_line.py PATH...

Takes the first path that is there: a virtio port or a serial line. A message is one line: @@ and JSON in base64. The
first message tells which boot this is; then each command gets one answer with its number. Standard library only.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MARK = b"@@"
_PART_BYTES = 1 << 16
_LOOK_S = 0.1


def open_line(paths: list[str]) -> int:
    """The first of the paths that can be opened; waits until one can."""
    while True:
        for path in paths:
            try:
                line = os.open(path, os.O_RDWR | os.O_NOCTTY)
            except OSError:
                continue
            if os.isatty(line):
                tty.setraw(line, termios.TCSANOW)
            return line
        time.sleep(_LOOK_S)


def tell(line: int, message: dict[str, Any]) -> None:
    rest = _MARK + base64.b64encode(json.dumps(message).encode()) + b"\n"
    while rest:
        rest = rest[os.write(line, rest) :]


def write(path: str, content: bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Run a command, or read or write a file: these two start no process, which costs much in an emulated machine."""
    status, out, error = 0, b"", ""
    try:
        if "read" in asked:
            out = Path(asked["read"]).read_bytes()
        elif "write" in asked:
            write(asked["write"], base64.b64decode(asked["input"]))
        else:
            content = base64.b64decode(asked["input"])
            done = subprocess.run(
                asked["command"], input=content, capture_output=True, check=False, timeout=asked["timeout_s"]
            )
            status, out, error = done.returncode, done.stdout, done.stderr.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired) as trouble:
        status, error = 255, str(trouble)
    return {"number": asked["number"], "status": status, "out": base64.b64encode(out).decode(), "error": error}


def main() -> None:
    line = open_line(sys.argv[1:])
    tell(line, {"boot": _BOOT_ID.read_text().strip()})
    waiting = b""
    while True:
        part = os.read(line, _PART_BYTES)
        if not part:  # nobody listens at the other end
            time.sleep(_LOOK_S)
        waiting += part
        *lines, waiting = waiting.split(b"\n")
        for one in lines:
            _, mark, packed = one.partition(_MARK)
            if mark:
                tell(line, answer(json.loads(base64.b64decode(packed))))


if __name__ == "__main__":
    main()
