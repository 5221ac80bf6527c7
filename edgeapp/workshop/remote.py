"""A device reached with OpenSSH's own client: a folder of ours there, files to and fro, and commands of edgeapp.

Owns the connection and what it leaves behind, which is nothing: the folder is removed at the end, and when the
connection breaks while a command runs, the device ends it and removes the folder by itself. Keys, aliases, jump hosts
and ports are ssh's and its configuration's; nothing is asked (BatchMode), and a host is believed only by a key that ssh
knows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from urllib.parse import urlsplit

from edgeapp import __version__
from edgeapp.errors import RemoteError

_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=15")
_SSH_FAILED, _NOT_FOUND = 255, 127
_FOLDER = re.compile(r"/[A-Za-z0-9._/-]*/edgeapp\.[A-Za-z0-9]+")
_CURES = (
    ("Host key verification failed", "ssh does not know this host: connect once by hand, and compare its fingerprint"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "another host answers under this name, or it was set up anew"),
    ("Permission denied", "no key of yours is taken there: ssh-copy-id, or load the key with ssh-add"),
    ("Could not resolve", "the name is not known"),
    ("Connection refused", "no SSH server listens there: address, port, ssh.service"),
    ("timed out", "nothing answers there"),
    ("No route to host", "nothing answers there"),
)
# Ends the command and clears up when the connection, and with it standard input, ends.
_GUARDED = (
    'cd "$1" || exit 1; d=$1; shift; exec 3<&0; "$@" </dev/null 3<&- & c=$!; '
    "{ cat <&3; trap '' TERM; kill $c; cd /; rm -rf \"$d\"; } >/dev/null 2>&1 & w=$!; "
    'wait "$c"; s=$?; kill "$w" 2>/dev/null; exit "$s"'
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is: ssh://[user@]host[:port]."""

    host: str
    user: str = ""
    port: int | None = None

    @property
    def target(self) -> str:
        return f"{self.user}@{self.host}" if self.user else self.host

    def __str__(self) -> str:
        return f"ssh://{self.target}" + (f":{self.port}" if self.port else "")


def read_address(text: str) -> Address:
    """The address that a person wrote; `ssh://` may be left out.

    Raises:
        RemoteError: it is of another form.
    """
    wanted = f"expected ssh://user@host or ssh://user@host:port, found {text!r}"
    try:
        parts = urlsplit(text if "://" in text else f"ssh://{text}")
        port = parts.port
    except ValueError as error:
        raise RemoteError(wanted) from error
    user, host = parts.username or "", parts.hostname or ""
    rest = (parts.path.strip("/"), parts.query, parts.fragment, parts.password)
    # A leading dash would be an option to ssh.
    if parts.scheme != "ssh" or not host or any(rest) or host.startswith("-") or user.startswith("-"):
        raise RemoteError(wanted)
    return Address(host=host, user=user, port=port)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """How a device is reached, and where edgeapp is on it."""
    parser.add_argument(
        "--ssh", default="ssh", metavar="COMMAND", help="the client, with options of yours (%(default)s)"
    )
    parser.add_argument("--program", default="edgeapp", metavar="PATH", help="edgeapp on the device (%(default)s)")


def open_remote(chosen: argparse.Namespace, address: str) -> Remote:
    """The device at `address` (ssh://…), by these options; to be entered with `with`.

    Raises:
        RemoteError: the address is of another form.
    """
    return Remote(read_address(address), program=chosen.program, ssh=shlex.split(chosen.ssh))


class Remote:
    """A device while it is connected, with a folder of ours on it. Made with `with`."""

    def __init__(self, address: Address, *, program: str = "edgeapp", ssh: Sequence[str] = ("ssh",)) -> None:
        """`program` is edgeapp's name or path there; `ssh` the client, with options of the caller's."""
        self.address = address
        self._program = program
        port = ("-p", str(address.port)) if address.port else ()
        self._ssh = (*ssh, *_OPTIONS, *port, "--", address.target)
        self._folder = ""

    def __enter__(self) -> Remote:
        """Connect, look for edgeapp of this very version, and make the folder.

        Raises:
            RemoteError: one of these fails; the text says what to do.
        """
        version = self._shell(f"{shlex.quote(self._program)} --version").decode(errors="replace").strip()
        if version != f"edgeapp {__version__}":
            raise RemoteError(
                f"{self.address}: expected edgeapp {__version__} as here, found {version[:60]!r}: install it there"
            )
        folder = self._shell('mktemp -d "${TMPDIR:-/var/tmp}/edgeapp.XXXXXXXXXX"').decode(errors="replace").strip()
        if not _FOLDER.fullmatch(folder):
            raise RemoteError(f"{self.address}: expected a new folder's name, found {folder[:60]!r}")
        self._folder = folder
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(RemoteError):  # the device clears up by itself where it cannot be reached
            self._shell(f"rm -rf {shlex.quote(self._folder)}")

    def put(self, files: Mapping[str, Path]) -> None:
        """Copy files and folders there, under these names.

        Raises:
            RemoteError: the connection broke, or there is no room.
            OSError: one cannot be read.
        """
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
                for name, path in files.items():
                    archive.add(path, name)
            packed.seek(0)
            self._shell(f"tar -xf - -C {shlex.quote(self._folder)}", packed)

    def get(self, names: Sequence[str], to: Path) -> None:
        """Bring plain files of the folder into the folder `to`.

        Raises:
            RemoteError: one is not there, or the connection broke.
            OSError: one cannot be written.
        """
        wanted = " ".join(map(shlex.quote, names))
        packed = self._shell(f"tar -cf - -C {shlex.quote(self._folder)} -- {wanted}")
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                for name in names:  # by name: what else is in there is not looked at
                    file = archive.extractfile(name)
                    if file is None:
                        raise RemoteError(f"{self.address}: {name}: expected a plain file")
                    (to / name).write_bytes(file.read())
        except (tarfile.TarError, KeyError) as error:
            raise RemoteError(f"{self.address}: expected {', '.join(names)}, found: {error}") from error

    def run(self, arguments: Sequence[str], on_line: Callable[[str], None] = lambda _: None) -> tuple[int, bytes]:
        """Run a command of edgeapp in the folder; its exit status and what it printed. `on_line` gets what it says
        on standard error. A negative status is the number of the signal that ended it.

        Raises:
            RemoteError: the connection broke.
        """
        words = ["sh", "-c", _GUARDED, "edgeapp", self._folder, self._program, *arguments]
        command = [*self._ssh, shlex.join(words)]
        with tempfile.TemporaryFile() as out, self._start(command, subprocess.PIPE, out) as process:
            assert process.stderr is not None, "started with pipes"
            said = ""
            try:
                for line in process.stderr:
                    said = line.decode(errors="replace").rstrip()
                    on_line(said)
                status = process.wait()
            finally:
                process.terminate()  # where it was interrupted: its end closes the device's standard input
            out.seek(0)
            printed = out.read()
        if status == _SSH_FAILED:
            raise self._broken(said)
        if status == _NOT_FOUND:
            raise self._missing(said)
        return (128 - status if 128 < status < 160 else status), printed

    def _shell(self, script: str, given: IO[bytes] | None = None) -> bytes:
        """What a line of shell prints there."""
        with self._start([*self._ssh, script], given or subprocess.DEVNULL) as process:
            printed, errors = process.communicate()
        said = errors.decode(errors="replace").strip()
        if process.returncode == _SSH_FAILED:
            raise self._broken(said)
        if process.returncode == _NOT_FOUND:
            raise self._missing(said)
        if process.returncode:
            raise RemoteError(f"{self.address}: {said.splitlines()[-1] if said else f'status {process.returncode}'}")
        return printed

    def _start(
        self, command: Sequence[str], given: IO[bytes] | int, out: IO[bytes] | int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(command, stdin=given, stdout=out, stderr=subprocess.PIPE)
        except OSError as error:
            raise RemoteError(
                f"{command[0]}: expected OpenSSH's client (Debian: openssh-client), found: {error.strerror}"
            ) from error

    def _broken(self, said: str) -> RemoteError:
        cure = next((cure for sign, cure in _CURES if sign in said), "")
        lines = said.splitlines() or ["the connection ended"]
        return RemoteError(f"{self.address}: {lines[-1]}" + (f": {cure}" if cure else ""))

    def _missing(self, said: str) -> RemoteError:
        found = said.splitlines()[-1] if said else "command not found"
        return RemoteError(
            f"{self.address}: expected edgeapp as {self._program!r} there, found: {found}: install it, or "
            "name its path with --program"
        )


def last_object(printed: bytes, address: Address) -> dict[str, object]:
    """The JSON object on the last line of what a command printed.

    Raises:
        RemoteError: there is none.
    """
    last = (printed.decode(errors="replace").strip().splitlines() or [""])[-1]
    try:
        found = json.loads(last)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RemoteError(f"{address}: expected a JSON object, found {last[:80]!r}")
    return found
