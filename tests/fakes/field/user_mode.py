"""A Debian of another processor whose programs run here: qemu-user translates each, and no kernel of its own is there.

Owns the namespaces in which they run. The kernel is told of qemu by binfmt_misc, which a user namespace has of its own
since Linux 6.7: no program of this machine sees it, and it ends with the namespace. There is no systemd, and network is
what the namespace has that it is started in. Time is this machine's.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from edgeapp.workshop.build_cache import cached_folder
from tests.fakes.bench import apt as apt_state
from tests.fakes.bench import arm_board, wheels
from tests.fakes.bench.apt import Apt
from tests.fakes.field.nspawn import overlay
from tests.fakes.field.steps import DidNotRunError

_PACKAGE, _NAME = "qemu-user-static", "qemu-aarch64"
_IDS = 1 << 16
_READY = "ready\n"
# Once its users are mapped the first process becomes root there, by starting another program.
_WAIT = 'echo ready; read -r _; exec "$@"'
_SET_UP = """
root=$1 rule=$2 cpuinfo=$3
mount -t proc proc "$root/proc"
mount -t binfmt_misc binfmt_misc "$root/proc/sys/fs/binfmt_misc"
printf %s "$rule" >"$root/proc/sys/fs/binfmt_misc/register"
mount --bind "$cpuinfo" "$root/proc/cpuinfo"
for node in null zero full random urandom; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
echo ready
exec cat
"""


def static_qemu(cache: Path) -> Path:
    """Debian's package qemu-user-static, unpacked and not installed: that would tell this machine's kernel of it.

    Raises:
        FetchError: apt cannot get it.
    """
    parts = [Path(source).read_bytes() for source in (__file__, apt_state.__file__, "/etc/os-release")]
    key = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    return cached_folder(cache / _PACKAGE, key, _unpack)[0]


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="edgeapp-qemu-") as scratch:
        architecture = subprocess.run(
            ["dpkg", "--print-architecture"], check=True, capture_output=True, text=True
        ).stdout.strip()
        package = Apt(architecture, Path(scratch) / "apt").download_alone(_PACKAGE)
        wheels.run(["dpkg-deb", "--extract", str(package), f"{scratch}/unpacked"])
        for path in (f"usr/bin/{_NAME}-static", f"usr/lib/binfmt.d/{_NAME}.conf"):
            shutil.copy(Path(scratch) / "unpacked" / path, folder)


class UserModeDebian:
    """`root` is its tree; what is written there ends with the context. `qemu` is the folder of `static_qemu`."""

    def __init__(self, folder: Path, tree: Path, qemu: Path, cpu: str, prefix: tuple[str, ...]) -> None:
        """`cpu` is one of arm_board.CPUS, `prefix` what a command begins with to run in the network it is to have."""
        self._folder, self._tree, self._qemu, self._cpu, self._prefix = folder, tree, qemu, cpu, prefix
        self._stack = ExitStack()
        self._inside: tuple[str, ...] = ()
        self.root = folder / "root"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(overlay(self._folder, self._tree))
            arm_board.write_cpu(self._cpu, self._folder / "board")
            shutil.copytree(self._folder / "board/sys", self.root / "sys", dirs_exist_ok=True)
            self._inside = self._make_namespaces(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def command(self, *command: str) -> tuple[str, ...]:
        """What runs a command in the tree, as root."""
        return (*self._inside, *command)

    def _make_namespaces(self, stack: ExitStack) -> tuple[str, ...]:
        """What begins a command in them. They last as long as the first process there, which ends with its input.

        Raises:
            DidNotRunError: the kernel does not give them; with the words of what was tried.
        """
        rule = (self._qemu / f"{_NAME}.conf").read_text().partition(":/")[0]
        own = (str(self.root), f"{rule}:{self._qemu}/{_NAME}-static:FP", str(self._folder / "board/proc/cpuinfo"))
        unshare = ("unshare", "--user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _WAIT, "sh")
        first = stack.enter_context(
            subprocess.Popen(
                [*self._prefix, *unshare, "sh", "-ec", _SET_UP, "sh", *own],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        assert first.stdin is not None
        assert first.stdout is not None
        said = first.stdout.readline()
        if said == _READY:
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{first.pid}/{kind}").write_text(f"0 0 {_IDS}\n")
            first.stdin.write("\n")
            first.stdin.flush()
            said = first.stdout.readline()
        if said != _READY:
            raise DidNotRunError(f"needs a user namespace with a binfmt_misc of its own (Linux 6.7): {said.strip()}")
        (leader,) = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        clean = ("env", "--ignore-environment", f"QEMU_CPU={self._cpu}", "PATH=/usr/sbin:/usr/bin")
        return ("nsenter", "--target", leader, "--all", "--", *clean, "chroot", str(self.root))
