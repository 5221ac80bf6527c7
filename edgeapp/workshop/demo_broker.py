"""A broker for the demo, on loopback and without root, and a subscriber that shows what it receives."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
import yaml
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console

from edgeapp.errors import EdgeAppError

_START_S = 15.0
_QUIET_S = 0.5


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedBroker:
    """mosquitto where it is installed, else amqtt, as a child process on a free port of 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = _free_port()
        mosquitto = shutil.which("mosquitto")
        self.name = "mosquitto" if mosquitto else "amqtt"
        self._command = self._mosquitto(mosquitto) if mosquitto else self._amqtt()

    def __enter__(self) -> Self:
        with (self._folder / "broker.log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.05)
        self.__exit__(None, None, None)
        said = (self._folder / "broker.log").read_text(errors="replace")
        raise EdgeAppError(f"{self.name} did not open port {self.port} within {_START_S:.0f} s:\n{said}")

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _mosquitto(self, program: str) -> list[str]:
        path = self._folder / "mosquitto.conf"
        path.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        return [program, "-c", str(path)]

    def _amqtt(self) -> list[str]:
        path = self._folder / "amqtt.yaml"
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}}
        path.write_text(yaml.safe_dump({"listeners": listeners, "plugins": plugins}))
        return [str(Path(sys.executable).parent / "amqtt"), "-c", str(path)]


class Listener:
    """Any subscriber of the fleet: collects the reports and prints a line for each message."""

    def __init__(self, port: int, console: Console) -> None:
        self.telemetry: list[dict[str, Any]] = []
        self._console = console
        self._heard_s = time.monotonic()
        self._is_subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-listener")
        self._client.on_connect = lambda client, *_: client.subscribe("edgeapp/v1/#", qos=1)
        self._client.on_subscribe = lambda *_: self._is_subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        if not self._is_subscribed.wait(_START_S):
            raise EdgeAppError("the broker does not accept the demo's subscription")
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_quiet(self) -> None:
        """Wait until nothing has come for a moment."""
        while time.monotonic() - self._heard_s < _QUIET_S:
            time.sleep(0.05)

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._heard_s = time.monotonic()
        payload = json.loads(message.payload)
        kind = message.topic.rsplit("/", 1)[-1]
        if kind == "telemetry":
            self.telemetry.append(payload)
            inference = payload["inf"]
            text = f"report {payload['seq']}: {inference['n']} predictions, p50 {inference['p50_ms']} ms"
        else:
            text = payload.get("state", "")
        self._console.print(f"[cyan]mqtt[/] {message.topic}  {len(message.payload)} bytes  {text}", soft_wrap=True)
