"""What the page asks and is answered: routes, the cookie, the headers. Knows no socket.

Owns the meaning of each request that `request.py` lets through. Guarantees: without the session's cookie there is the
page with its question for the code, and nothing else; no answer may be kept by a browser or shown inside another site;
and the page runs no script but its own, whose hash the policy names.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from edgeapp.aim.gate import MAX_WRONG_CODES, Event, Phase
from edgeapp.aim.request import COOKIE, Request, refusal
from edgeapp.aim.session import Session
from edgeapp.aim.shapes_file import ConflictError, ShapesFile, Version
from edgeapp.aim.viewer import Shown
from edgeapp.config import Config
from edgeapp.config_change import effect
from edgeapp.config_edit import shapes_of
from edgeapp.errors import ConfigError, EdgeAppError, ManifestError
from edgeapp.words import counted

_LOOK_S = 2.0
_STYLE_LINK, _SCRIPT_LINK = '<link rel="stylesheet" href="page.css">', '<script src="page.js"></script>'
_HTML, _JSON, _BYTES = "text/html; charset=utf-8", "application/json", "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes = b""
    kind: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()


class Site:
    """The page and what it asks for. Any thread may call `answer`."""

    def __init__(
        self,
        session: Session,
        shapes: ShapesFile,
        *,
        newer_than: Callable[[int, float], Shown],
        facts: Callable[[], dict[str, Any]],
        on_masks: Callable[[Config], None],
    ) -> None:
        """`newer_than` waits for a picture as Viewer's does; `facts` go with each picture; `on_masks` gets every new
        configuration."""
        self._session, self._shapes = session, shapes
        self._newer_than, self._facts, self._on_masks = newer_than, facts, on_masks
        self._writing = threading.Lock()
        page, style, script = (_part(f"page.{kind}") for kind in ("html", "css", "js"))
        self._page = Answer(200, _joined(page, style, script).encode(), _HTML)
        self._headers = (
            ("Content-Security-Policy", _policy(style, script)),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        )

    def answer(self, request: Request, hosts: frozenset[str]) -> Answer:
        """The answer to any request, with the headers that every answer has."""
        found = self._answer(request, hosts)
        return dataclasses.replace(found, headers=(*found.headers, *self._headers))

    def _answer(self, request: Request, hosts: frozenset[str]) -> Answer:
        refused = refusal(request, hosts)
        if refused is not None:
            return _trouble(refused.status, refused.text)
        gate = self._session.gate()
        if gate.phase is Phase.ENDED:
            return _trouble(410, f"aiming has ended: {gate.ended_by}")
        route = request.method, request.path
        if route == ("GET", "/"):
            return self._page
        if route == ("POST", "/code"):
            return self._enter(request.body)
        if not self._session.admits(request.token):
            return _trouble(403, "the code is needed first")
        match route:
            case ("GET", "/look"):
                return self._look(request.query)
            case ("GET", "/shapes"):
                return self._read()
            case ("POST", "/shapes"):
                return self._write(request.body)
            case ("POST", "/done"):
                self._session.end(Event.DONE)
                return Answer(204)
        return _trouble(404, "no such page")

    def _enter(self, body: bytes) -> Answer:
        try:
            entered = json.loads(body)["code"]
        except (ValueError, KeyError, TypeError, RecursionError):
            entered = None
        if not isinstance(entered, str):
            return _trouble(400, "expected a code")
        before = self._session.gate()
        token = self._session.enter(entered)
        if token is not None:
            cookie = f"{COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict"
            return Answer(204, headers=(("Set-Cookie", cookie),))
        gate = self._session.gate()
        if gate.phase is Phase.ENDED:
            return _trouble(410, f"aiming has ended: {gate.ended_by}")
        if before.phase is Phase.OPEN:
            return _trouble(403, "the code was used already; it opens for one browser, once")
        left = MAX_WRONG_CODES - gate.wrong_codes
        return _trouble(403, f"not the code; {counted(left, 'attempt')} left")

    def _look(self, query: str) -> Answer:
        """The newest picture after the one that the page has: bytes of JSON (4, big-endian), JSON, JPEG."""
        after = parse_qs(query).get("after", ["0"])[0]
        number = int(after) if after.isdecimal() and len(after) < 16 else 0
        shown = self._newer_than(number, _LOOK_S)
        facts = {**self._facts(), "number": shown.number, "left_s": round(self._session.left_s())}
        text = json.dumps(facts)[:-1].encode() + b',"look":' + shown.look + b"}"
        return Answer(200, len(text).to_bytes(4) + text + shown.jpeg, _BYTES)

    def _read(self) -> Answer:
        try:
            return _as_answer(self._shapes.read(), is_writable=self._shapes.is_writable())
        except ConfigError as error:
            return _trouble(422, str(error))

    def _write(self, body: bytes) -> Answer:
        with self._writing:
            try:
                version = self._shapes.write(body)
            except ConflictError as error:
                return _trouble(409, str(error))
            except (ConfigError, ManifestError) as error:
                return _trouble(422, str(error))
            except EdgeAppError as error:
                return _trouble(500, str(error))
            self._on_masks(version.config)
        return _as_answer(version, is_writable=True)


def _joined(page: str, style: str, script: str) -> str:
    """The page in one piece: what it links to stands in it, so that nothing else need be asked for."""
    for link, text in ((_STYLE_LINK, f"<style>{style}</style>"), (_SCRIPT_LINK, f"<script>{script}</script>")):
        if page.count(link) != 1:
            raise ValueError(f"page.html: expected one {link}, found {page.count(link)}")
        page = page.replace(link, text)
    return page


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy under which the page's own script and style run, and nothing else."""
    return (
        f"default-src 'none'; script-src '{_hash_of(script)}'; style-src '{_hash_of(style)}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _part(name: str) -> str:
    return (resources.files("edgeapp.aim") / name).read_text(encoding="utf-8")


def _hash_of(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _as_answer(version: Version, *, is_writable: bool) -> Answer:
    config = version.config
    return Answer(
        200,
        json.dumps(
            {
                **dataclasses.asdict(shapes_of(config)),
                "base": version.base,
                "is_writable": is_writable,
                "classes": config.tracking.classes,
                "heights_pct": [config.tracking.min_height_pct, config.tracking.max_height_pct],
                "changed": [{"key": change.key, "effect": effect(change.key)} for change in version.changes],
            }
        ).encode(),
    )


def _trouble(status: int, text: str) -> Answer:
    return Answer(status, json.dumps({"text": text}).encode())
