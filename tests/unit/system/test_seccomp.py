"""A process that gave up sockets can make none, nor can its children; what was open stays."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from edgeapp.system import seccomp

_TRY = """
import os, socket, subprocess, sys
from edgeapp.system import seccomp
pair = socket.socketpair()
assert seccomp.forbid_sockets()
pair[0].send(b"still"), pair[1].recv(10)
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_PACKET):
    try:
        socket.socket(family, socket.SOCK_DGRAM)
    except PermissionError:
        continue
    sys.exit(f"made a socket of {family!r}")
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()
child = "import socket\\ntry:\\n socket.socket()\\nexcept PermissionError:\\n raise SystemExit(7)"
sys.exit(subprocess.run([sys.executable, "-c", child]).returncode)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="another processor has other numbers")
def test_no_socket_but_netlink_can_be_made_any_more() -> None:
    done = subprocess.run([sys.executable, "-c", _TRY], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7, done.stderr


def test_an_unknown_processor_is_told_and_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_MACHINES", {})
    assert not seccomp.forbid_sockets()
