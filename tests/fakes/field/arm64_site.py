"""What is around an emulated machine: a network with nothing in it but a broker and a time server.

The machine's own network, which qemu imitates, leads to loopback of a network namespace and nowhere else: there is no
way to the internet. The machine calls it 10.0.2.2; from outside the broker is reached over a Unix socket.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.fakes.broker import Broker
from tests.fakes.field.installation import ROOT
from tests.fakes.field.networked import PASSWORD
from tests.fakes.subscriber import Subscriber

HOST = "10.0.2.2"
_QUARTER_S = 900


class Site:
    """Use as a context."""

    def __init__(self, folder: Path) -> None:
        self._namespace = f"edgeapp-{os.getpid()}-{folder.name}"
        self._stack = ExitStack()
        self._time: subprocess.Popen[bytes] | None = None
        self.broker = Broker(folder / "broker", users={"edgeapp": PASSWORD}, namespace=(self._namespace, "127.0.0.1"))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            subprocess.run(["ip", "netns", "add", self._namespace], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", self._namespace], check=False)
            subprocess.run(["ip", "-n", self._namespace, "link", "set", "lo", "up"], check=True)
            stack.enter_context(self.broker)
            stack.callback(self.stop_time)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with, to run in this network."""
        return ("ip", "netns", "exec", self._namespace)

    def start_time(self, offset_s: float = 0.0) -> None:
        """Let a time server tell this machine's time and an offset."""
        command = [*self.prefix, sys.executable, "-m", "tests.fakes.field.time_server", f"--offset-s={offset_s}"]
        self._time = subprocess.Popen(command, cwd=ROOT)

    def stop_time(self) -> None:
        """Let none answer any more."""
        if self._time is not None:
            self._time.kill()
            self._time.wait()
            self._time = None

    def subscriber(self) -> Subscriber:
        """A reader of all that devices say; use it as a context."""
        return Subscriber(self.broker.unix_socket, "edgeapp/v1/#", login=("edgeapp", PASSWORD))

    def publish(self, topic: str, content: bytes) -> None:
        """Say something to the device, retained."""
        client = paho.Client(CallbackAPIVersion.VERSION2, transport="unix")
        client.username_pw_set("edgeapp", PASSWORD)
        client.connect(str(self.broker.unix_socket))
        client.loop_start()
        client.publish(topic, content, qos=1, retain=True).wait_for_publish(30)
        client.disconnect()
        client.loop_stop()


def offset_before_quarter(seconds: float) -> float:
    """What to add to this machine's time, at least 0, so that a quarter of an hour ends in so many seconds."""
    return (_QUARTER_S - seconds - time.time()) % _QUARTER_S
