"""A real headless Chromium, driven over the pipe of its DevTools protocol: fingers, a mouse, keys, and what it shows.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, each ended by a NUL, on descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--ignore-certificate-errors",
    "--remote-debugging-pipe",
)
_ANSWER_S, _WAIT_S = 60.0, 60.0
_DRAG_STEPS = 6
_HOLD_S = 0.2


class Chromium:
    """One browser with one page."""

    def __init__(self, folder: Path, *, width: int, height: int, is_phone: bool) -> None:
        program = shutil.which("chromium")
        assert program is not None, "the Debian package chromium is needed"
        to_browser, from_browser = os.pipe(), os.pipe()
        # From 10 on, so that the shell's redirections to 3 and 4 cannot overwrite one of them.
        their_in, their_out = (fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (to_browser[0], from_browser[1]))
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._out, self._in, self._pending, self._next = to_browser[1], from_browser[0], b"", 1
        self._process = subprocess.Popen(
            [
                "bash",
                "-c",
                f'exec "$@" 3<&{their_in} 4>&{their_out}',
                "bash",
                program,
                *_FLAGS,
                f"--user-data-dir={folder}",
            ],
            pass_fds=(their_in, their_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(their_in)
        os.close(their_out)
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=is_phone)
        self._is_phone = is_phone

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command of the protocol and wait for its answer."""
        number, self._next = self._next, self._next + 1
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        until_s = time.monotonic() + _ANSWER_S
        while True:
            answer = self._receive(until_s)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                found: dict[str, Any] = answer["result"]
                return found
            self.events.append(answer)

    def _receive(self, until_s: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            assert select.select([self._in], [], [], max(0.0, until_s - time.monotonic()))[0], "Chromium is silent"
            piece = os.read(self._in, 1 << 20)
            assert piece, "Chromium has ended"
            self._pending += piece
        message, _, self._pending = self._pending.partition(b"\0")
        received: dict[str, Any] = json.loads(message)
        return received

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression says, waited for where it is a promise."""
        answer = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Wait until an expression is true; its value."""
        until_s = time.monotonic() + _WAIT_S
        while time.monotonic() < until_s:
            found = self.value(expression)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited for {expression}; the page says: {self.value('document.body.innerText')}")

    def middle(self, selector: str) -> tuple[float, float]:
        """Where the middle of the only element of a selector is on the screen, after scrolling to it."""
        self.wait(f"document.querySelectorAll({selector!r}).length === 1")
        x, y = self.value(
            f"(() => {{ const one = document.querySelector({selector!r});"
            "if (!one.closest('#stage')) one.scrollIntoView({block: 'center'});"
            "const r = one.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return x, y

    def tap(self, selector: str) -> None:
        """With a finger, or the mouse."""
        self.drag(self.middle(selector), (0.0, 0.0), steps=0)

    def drag(self, start: tuple[float, float], by: tuple[float, float], steps: int = _DRAG_STEPS) -> None:
        """Press at `start`, move, hold still as a hand does, let go.

        Let go in full swing, a finger would set the page sliding, and the next tap would only stop that.
        """
        self._point("start", *start)
        for step in range(1, steps + 1):
            self._point("move", start[0] + by[0] * step / steps, start[1] + by[1] * step / steps)
        if steps:
            time.sleep(_HOLD_S)
            self._point("move", start[0] + by[0], start[1] + by[1])
        self._point("end", start[0] + by[0], start[1] + by[1])

    def _point(self, what: str, x: float, y: float) -> None:
        if self._is_phone:
            kind = {"start": "touchStart", "move": "touchMove", "end": "touchEnd"}[what]
            points = [] if what == "end" else [{"x": x, "y": y}]
            self.command("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        else:
            kind = {"start": "mousePressed", "move": "mouseMoved", "end": "mouseReleased"}[what]
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def write(self, selector: str, text: str) -> None:
        """Replace what stands in an input field."""
        self.value(f"(() => {{ const e = document.querySelector({selector!r}); e.focus(); e.select(); }})()")
        self.command("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def complaints(self) -> list[str]:
        """What went wrong in the page: exceptions, errors of the console, broken policies."""
        found = []
        for event in self.events:
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(event["params"]["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                found.append(json.dumps(event["params"]["entry"]))
        return found
