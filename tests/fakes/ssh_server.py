"""A real OpenSSH server on loopback, with keys and a configuration of its own, for this user alone.

Debian: openssh-server, of which only the program is used. Its `edgeapp` is a script before that of this checkout.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

from edgeapp.workshop.remote import Address
from tests.fakes.broker import free_port, wait_for_port

_PROGRAM = """#!/bin/sh
echo "$@" >>{log}
exec {python} -m edgeapp.cli "$@"
"""


class SshServer:
    """Runs while it is entered. `ssh` is the client with the options that find keys and known hosts here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = Address("127.0.0.1", getpass.getuser(), self.port)
        self.scratch, self.log = folder / "scratch", folder / "commands"
        self._process: subprocess.Popen[bytes] | None = None
        self.known_hosts = folder / "known_hosts"

    @property
    def ssh(self) -> tuple[str, ...]:
        key, hosts = self.folder / "client", self.known_hosts
        return ("ssh", "-F", "none", "-i", str(key), "-o", f"UserKnownHostsFile={hosts}", "-o", "IdentitiesOnly=yes")

    def __enter__(self) -> SshServer:
        self.folder.mkdir(parents=True)
        self.scratch.mkdir()
        for name in ("host", "client"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        shutil.copy(self.folder / "client.pub", self.folder / "authorized")
        kind, key, *_ = (self.folder / "host.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")
        programs = self.folder / "bin"
        programs.mkdir()
        self.install(programs / "edgeapp")
        environment = f'PATH={programs}:/usr/bin:/bin TMPDIR={self.scratch} PYTHONPATH="{Path.cwd()}"'
        configuration = self.folder / "sshd_config"
        configuration.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSetEnv {environment}\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it locks itself in before it knows who comes
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, "expected Debian's openssh-server"
        log = self.folder / "sshd.log"
        self._process = subprocess.Popen([program, "-D", "-f", configuration, "-E", log])
        wait_for_port(self.port, self._process)
        return self

    def install(self, path: Path) -> None:
        path.write_text(_PROGRAM.format(python=sys.executable, log=self.log))
        path.chmod(0o755)

    def left(self) -> list[str]:
        """What is left in the folder in which temporary ones are made."""
        return sorted(path.name for path in self.scratch.iterdir())

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
