"""A process is known by its id and start time together."""

from __future__ import annotations

import os
import subprocess
import sys

from edgeapp.system import processes


def test_only_the_process_that_was_meant_is_killed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ticks = processes.start_ticks(child.pid)
    assert ticks is not None
    assert not processes.kill_if_same(child.pid, ticks + 1)
    assert child.poll() is None, "another process of the same id was killed"
    assert processes.kill_if_same(child.pid, ticks)
    assert child.wait() == -9


def test_a_process_that_is_gone_is_no_error() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert processes.start_ticks(child.pid) is None
    assert processes.rss_mb(child.pid) is None
    assert not processes.kill_if_same(child.pid, 1)


def test_memory_of_this_process_is_plausible() -> None:
    memory = processes.rss_mb(os.getpid())
    assert memory is not None
    assert 5 < memory < 4000
