"""`edgeapp aim` as a process of its own, and the way in for who has read its terminal."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_START_S = 60.0


class Aiming:
    """Begun when made; ended with the block."""

    def __init__(self, config: Path, *arguments: str) -> None:
        # As from a terminal: what a script leaves in the background has SIGINT ignored, and Python keeps it so.
        python = ["env", "--default-signal=INT", sys.executable]
        command = [*python, "-m", "edgeapp.cli", "aim", "--config", str(config), "--address", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.said = self._read_until("Ctrl-C ends it now.")
        url, code = re.search(r"https://[0-9.:]+/", self.said), re.search(r"code  (\S+)", self.said)
        assert url, self.said
        assert code, self.said
        self.url, self.code = url[0], code[1]
        self.cookie = ""

    def __enter__(self) -> Aiming:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def _read_until(self, words: str) -> str:
        assert self.process.stdout is not None
        found, until_s = "", time.monotonic() + _START_S
        while words not in found:
            assert select.select([self.process.stdout], [], [], max(0.0, until_s - time.monotonic()))[0], found
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, f"it has ended, and said: {found}"
            found += piece.decode()
        return found

    def wait_end(self, timeout_s: float = _START_S) -> tuple[int, str]:
        """Its exit status and last words."""
        assert self.process.stdout is not None
        status = self.process.wait(timeout_s)
        return status, self.process.stdout.read().decode().strip().splitlines()[-1]

    def ask(self, method: str, path: str, content: Any = None) -> tuple[int, bytes]:
        """One request as the page makes it; status and body."""
        tls = ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        place = self.url.removeprefix("https://").removesuffix("/")
        connection = http.client.HTTPSConnection(place, timeout=_START_S, context=tls)
        headers = {"Origin": f"https://{place}", "X-Edgeapp-Aim": "1", "Cookie": self.cookie}
        headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, json.dumps(content) if method == "POST" else None, headers)
            answer = connection.getresponse()
            self.cookie = (answer.headers["Set-Cookie"] or self.cookie).partition(";")[0]
            return answer.status, answer.read()
        finally:
            connection.close()

    def enter(self) -> None:
        assert self.ask("POST", "/code", {"code": self.code})[0] == 204

    def look(self, after: int = 0) -> tuple[dict[str, Any], bytes]:
        """The facts and the JPEG of a picture after that one; the JPEG is empty while there is none."""
        status, body = self.ask("GET", f"/look?after={after}")
        assert status == 200, body
        length = int.from_bytes(body[:4])
        return json.loads(body[4 : 4 + length]), body[4 + length :]

    def wait_picture(self, after: int = 0) -> tuple[dict[str, Any], bytes]:
        until_s = time.monotonic() + _START_S
        while time.monotonic() < until_s:
            facts, jpeg = self.look(after)
            if jpeg and facts["number"] > after:
                return facts, jpeg
        raise AssertionError(f"no picture after {after}: {facts}")

    def eyes(self) -> int:
        """The process id of the child that sees."""
        until_s = time.monotonic() + _START_S
        while len(children := self._children()) != 1:  # none while another one is being started
            assert time.monotonic() < until_s, children
            time.sleep(0.05)
        return children[0]

    def _children(self) -> list[int]:
        found: list[int] = []
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has ended meanwhile
                found += map(int, (task / "children").read_text().split())
        return found
