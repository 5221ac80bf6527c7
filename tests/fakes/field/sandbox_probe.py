"""Runs inside a unit's sandbox in place of its program and prints, as JSON, what the kernel lets it do.

    python sandbox_probe.py PATH_OF_A_CHARACTER_DEVICE ADDRESS_OF_A_LISTENER PORT [PATH_OF_ANOTHER_DEVICE...]

Needs nothing but the standard library and edgeapp's clock. "ok" stands for done, else the name of the error.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from edgeapp.system.clock import is_synchronised

_FAMILIES = ("AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_BLUETOOTH", "AF_ALG")
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWNS = 0x10000000, 0x40000000, 0x00020000


def attempt(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "ok"


def opened(path: str) -> str:
    return attempt(lambda: os.close(os.open(path, os.O_RDWR)))


def unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def is_device(path: Path) -> bool:
    return path.is_char_device() or path.is_block_device()


def writable() -> list[str]:
    """Every folder and file that this user may write, apart from those of its own in /proc."""
    command = ["find", "/", "(", "-path", "/proc", "-o", "-path", "/sys", ")", "-prune", "-o"]
    command += ["-writable", "(", "-type", "d", "-o", "-type", "f", ")", "-print"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # Queues and shared memory are the kernel's, and empty: PrivateIPC= and the sandbox's own /dev.
    own = ("/dev/shm", "/dev/mqueue")
    return [path for path in done.stdout.splitlines() if not path.startswith(own) and not Path(path).is_socket()]


def main() -> None:
    camera, listener = sys.argv[1], (sys.argv[2], int(sys.argv[3]))
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    found = {
        "uid": os.getuid(),
        "sockets": {
            name: attempt(lambda name=name: socket.socket(getattr(socket, name), socket.SOCK_STREAM).close())  # type: ignore[misc]
            for name in _FAMILIES
            if hasattr(socket, name)
        },
        "connect": attempt(lambda: socket.create_connection(listener, 2).close()),
        "interfaces": sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]),
        "bus": attempt(lambda: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket")),
        "camera": opened(camera),
        "opened": {path: opened(path) for path in sys.argv[4:]},
        "devices": sorted(map(str, filter(is_device, Path("/dev").rglob("*")))),
        "writable": writable(),
        "credentials": attempt(lambda: list(Path("/etc/edgeapp/credentials").iterdir())),
        "state": attempt(lambda: list(Path("/var/lib/edgeapp").iterdir())),
        "user_namespace": attempt(lambda: unshare(_CLONE_NEWUSER)),
        "net_namespace": attempt(lambda: unshare(_CLONE_NEWNET)),
        "mount_namespace": attempt(lambda: unshare(_CLONE_NEWNS)),
        "executable_memory": attempt(
            lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
        ),
        "clock_is_told": is_synchronised() is not None,
        "capabilities": status["CapEff"].strip() + status["CapBnd"].strip() + status["CapAmb"].strip(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "seccomp": status["Seccomp"].strip(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
