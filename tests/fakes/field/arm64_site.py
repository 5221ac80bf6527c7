"""What is around an emulated machine: a network with nothing in it but a broker.

The machine's own network, which qemu imitates, leads to loopback of a network namespace and nowhere else: there is no
way to the internet. A machine calls it 10.0.2.2; from outside the broker is reached over a Unix socket.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.fakes.broker import Broker
from tests.fakes.field.networked import PASSWORD


class Site:
    """Use as a context."""

    def __init__(self, folder: Path, broker_options: Sequence[str] = ()) -> None:
        """`broker_options` as those of Broker."""
        self._namespace = f"edgeapp-{os.getpid()}-{folder.name}"
        self._stack = ExitStack()
        self.broker = Broker(
            folder / "broker",
            users={"edgeapp": PASSWORD},
            namespace=(self._namespace, "127.0.0.1"),
            options=broker_options,
        )

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            subprocess.run(["ip", "netns", "add", self._namespace], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", self._namespace], check=False)
            subprocess.run(["ip", "-n", self._namespace, "link", "set", "lo", "up"], check=True)
            stack.enter_context(self.broker)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with, to run in this network."""
        return ("ip", "netns", "exec", self._namespace)
