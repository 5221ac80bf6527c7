"""The product's oracle as its own process on loopback, and clients that ask it as devices do."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.fakes.broker import free_port
from tests.fakes.certificates import Authority, Signed
from tests.fakes.tiny_models import bright_spot, make_model_folder

TOKEN = "a-token-of-this-test"


def crop(size: int = 128) -> bytes:
    """A JPEG of a bright spot."""
    return cv2.imencode(".jpg", bright_spot(size, size))[1].tobytes()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, and how long it took."""

    status: int
    fields: dict[str, Any]
    headers: dict[str, str]
    took_s: float


class OracleServer:
    """`edgeapp-workshop oracle serve` on a small float model."""

    def __init__(self, folder: Path, *options: str, model: Path | None = None, needs_certificate: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.authority = Authority(folder / "ca", "authority")
        self.port, self.metrics_port = free_port(), free_port()
        (folder / "token").write_text(TOKEN + "\n")
        if model is None:
            model = folder / "model"
            make_model_folder(model, dtype="float32")
        signed = self.authority.sign("oracle")
        self.client = self.authority.sign("client")
        who = (
            ["--client-ca", str(self.authority.cert)] if needs_certificate else ["--token-file", str(folder / "token")]
        )
        self._command = [
            sys.executable, "-m", "edgeapp.workshop.cli", "oracle", "serve", str(model),
            "--cert", str(signed.cert), "--key", str(signed.key), "--host", "127.0.0.1", "--port", str(self.port),
            "--metrics-port", str(self.metrics_port), *who, *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        log = (self.folder / "oracle.log").open("ab")
        self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 120  # as long as a busy machine takes to load it
        while True:
            try:
                # From elsewhere: it counts as another client.
                connection = self.connect(self.client, source="127.0.0.2")
                self.ask(method="GET", path="/v1/health", connection=connection)
                connection.close()
                return
            except OSError:
                told = (self.folder / "oracle.log").read_text()
                assert self._process.poll() is None, told
                assert time.monotonic() < deadline, told
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        assert self._process is not None, "it was not started"
        self._process.terminate()
        return self._process.wait(60)

    def __enter__(self) -> OracleServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def connect(self, signed: Signed | None = None, source: str = "127.0.0.1") -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        if signed is not None:
            context.load_cert_chain(signed.cert, signed.key)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=60, source_address=(source, 0), context=context
        )

    def ask(
        self,
        body: bytes | None = None,
        *,
        method: str = "POST",
        path: str = "/v1/ask",
        token: str = TOKEN,
        signed: Signed | None = None,
        connection: http.client.HTTPSConnection | None = None,
    ) -> Reply:
        """One request, on a connection of its own unless one is given."""
        used = connection or self.connect(signed)
        began = time.monotonic()
        used.request(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
        response = used.getresponse()
        content = response.read()
        took_s = time.monotonic() - began
        if connection is None:
            used.close()
        try:
            fields = json.loads(content)
        except ValueError:
            fields = {"text": content.decode(errors="replace")}
        return Reply(response.status, fields, dict(response.headers), took_s)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics_port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*?}})? (\S+)$", text, re.MULTILINE))


def p99(times_s: list[float]) -> float:
    return float(np.percentile(times_s, 99))
