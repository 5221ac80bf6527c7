"""A real mosquitto on a free loopback port, that a test may stop, kill and start again on the same port."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 60.0
# Below those that the kernel gives to clients and to whoever asks for any: a port that a test's broker has left for a
# while, or that nobody shall answer on, stays free.
_PORTS = range(20_000, 32_768)
_CHANCE = random.SystemRandom()  # tests seed the common one, and run beside each other


class Broker:
    """One mosquitto process. Its configuration, passwords and database live in `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        is_persistent: bool = False,
        users: dict[str, str] | None = None,
        options: Sequence[str] = (),
        namespace: tuple[str, str] | None = None,
    ) -> None:
        """`users` maps names to passwords; without them anybody may connect. `options` are further lines of
        mosquitto.conf, for the listener too. `namespace`: a network namespace to run in and its address; from outside
        the broker is then reached over `unix_socket` only.

        Raises:
            RuntimeError: mosquitto is not installed.
        """
        self._folder = folder
        self._program = _find("mosquitto")
        self._process: subprocess.Popen[bytes] | None = None
        self._namespace, self.host = namespace or ("", "127.0.0.1")
        self.port = free_port()
        self.unix_socket = folder / "socket"
        folder.mkdir(parents=True, exist_ok=True)
        if users:
            self._write_users(users)
        # All that waits for a subscriber is written to its socket before the publisher gets its acknowledgement.
        lines = [f"listener 0 {self.unix_socket}"] if namespace else []
        lines += [f"listener {self.port} {self.host}", "max_inflight_messages 0", "max_queued_messages 0"]
        lines += [f"allow_anonymous {'false' if users else 'true'}"]
        lines += [f"password_file {folder / 'users'}"] if users else []
        lines += [f"persistence {'true' if is_persistent else 'false'}", f"persistence_location {folder}/"]
        lines += ["user root"] if os.geteuid() == 0 else []
        lines += options
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def address(self) -> int | Path:
        """How it is reached from here: its port on loopback, or its Unix socket."""
        return self.unix_socket if self._namespace else self.port

    def start(self) -> None:
        """Start, and return once the port answers, where it can be reached.

        Raises:
            RuntimeError: it does not come up; with its log.
        """
        with (self._folder / "mosquitto.log").open("ab") as log:
            prefix = ["ip", "netns", "exec", self._namespace] if self._namespace else []
            command = [*prefix, self._program, "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        if self._namespace:
            return  # whoever connects tries until it answers
        try:
            wait_for_port(self.port, self._process)
        except RuntimeError as error:
            self.kill()
            raise RuntimeError(f"mosquitto did not start: {(self._folder / 'mosquitto.log').read_text()}") from error

    def stop(self) -> None:
        """End it in order (SIGTERM): a persistent one saves its database."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_STOP_LIMIT_S)
            self._process = None

    def kill(self) -> None:
        """End it at once (SIGKILL). Does nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_LIMIT_S)
            self._process = None

    def reload(self) -> None:
        """Have it read certificates and passwords anew (SIGHUP); its connections stay."""
        assert self._process is not None, "not started"
        self._process.send_signal(signal.SIGHUP)

    def restart(self) -> None:
        """Stop in order and start on the same port."""
        self.stop()
        self.start()

    def _write_users(self, users: dict[str, str]) -> None:
        path = self._folder / "users"
        path.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        path.chmod(0o600)
        subprocess.run([_find("mosquitto_passwd"), "-U", str(path)], check=True, capture_output=True)


def free_port() -> int:
    """A loopback port that is free, and that nobody gets who does not ask here."""
    while True:
        port = _CHANCE.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process answers on a loopback port.

    Raises:
        RuntimeError: it ended, or does not answer in time.
    """
    deadline_s = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"nobody answers on port {port}")


def _find(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"these tests need {program}: install the Debian package mosquitto")
    return found
