"""A forked child ends with its work's result, and is waited for and ended as any other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

_TRIES = """
import json, os, signal, subprocess, sys, time
from edgeapp.system.fork import ForkedProcess

def fail():
    raise RuntimeError("as it happens")

def tell_stdin():
    return len(sys.stdin.read())

good, bad, deaf, slow = (ForkedProcess(work) for work in (lambda: 7, fail, tell_stdin, lambda: time.sleep(60) or 0))
try:
    slow.wait(timeout=0.05)
except subprocess.TimeoutExpired:
    is_patient = True
slow.kill()
found = [good.wait(), bad.wait(), deaf.wait(), slow.wait(), good.wait(timeout=0)]
good.kill()
print(json.dumps({"statuses": found, "is_patient": is_patient, "parent": os.getpid(), "child": good.pid}))
"""


def test_a_forked_child_works_also_where_there_is_no_stdin() -> None:
    tries = "from edgeapp.system.fork import ForkedProcess; print(ForkedProcess(lambda: 7).wait())"
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" <&-', sys.executable, tries], capture_output=True, check=True)
    assert done.stdout == b"7\n"


def test_a_forked_child_works_fails_waits_and_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", _TRIES], input="words", capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["statuses"] == [7, 1, 0, -signal.SIGKILL, 7], "what the parent reads is not the child's"
    assert found["is_patient"]
    assert found["child"] not in (found["parent"], os.getpid())
    assert "RuntimeError: as it happens" in done.stderr
