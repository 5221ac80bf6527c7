"""The program `edgeapp`: starts vision ahead of all else where the daemon is to run, then reads the command.

Most of a start is loading, and two processes load at once. So this file loads next to nothing itself.
"""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    vision = None
    if given[:1] == ["run"]:
        from edgeapp.system.processes import leave_no_core

        leave_no_core()
        if "--vision-apart" not in given:
            from edgeapp.vision.process import VisionProcess

            vision = VisionProcess.fork()
    try:
        from edgeapp import commands

        return commands.main(given, vision)
    finally:
        if vision is not None:
            vision.kill()  # only where the daemon did not start: else the process has ended in it


if __name__ == "__main__":
    sys.exit(main())
