"""What the page asks is answered to the one browser that gave the code, for a time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgeapp.aim import site
from edgeapp.aim.gate import MAX_WRONG_CODES, Event
from edgeapp.aim.look import Look
from edgeapp.aim.request import Request
from edgeapp.aim.session import Session
from edgeapp.aim.shapes_file import ShapesFile
from edgeapp.aim.site import Answer, Site
from edgeapp.aim.viewer import Shown
from edgeapp.config import Config
from tests.fakes.clock import FakeClock

SHIPPED = (Path(__file__).parents[3] / "config.yaml").read_text()
PARTS = Path(site.__file__).parent
HOST = "127.0.0.1:8443"
JPEG = b"\xff\xd8picture"
PROTECTED = [("GET", "/look"), ("GET", "/shapes"), ("POST", "/shapes"), ("POST", "/done"), ("GET", "/config.yaml")]


class Visitor:
    """A browser, its site and everything behind it but the camera and the network."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(SHIPPED)
        self.clock = FakeClock(1_700_000_000)
        self.session = Session(self.clock, 600.0)
        self.waited: list[tuple[int, float]] = []
        self.configured: list[Config] = []
        self.cookie = ""
        self.site = Site(
            self.session,
            ShapesFile(self.path),
            newer_than=self._newer_than,
            facts=lambda: {"temp_c": 54.0},
            on_masks=self.configured.append,
        )

    def _newer_than(self, number: int, timeout_s: float) -> Shown:
        self.waited.append((number, timeout_s))
        return Shown(7, Look(size=(4, 3), focus=1.5).as_json(), JPEG)

    def ask(self, method: str, path: str, content: Any = None, **other: str) -> Answer:
        headers = {"host": HOST, "cookie": self.cookie}
        if method == "POST":
            headers |= {"origin": f"https://{HOST}", "x-edgeapp-aim": "1", "content-type": "application/json"}
        path, _, query = path.partition("?")
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.site.answer(Request(method, path, headers | other, body, query), frozenset({HOST}))

    def enter(self) -> Answer:
        answer = self.ask("POST", "/code", {"code": self.session.code})
        self.cookie = dict(answer.headers)["Set-Cookie"].partition(";")[0]
        return answer


@pytest.fixture
def visitor(tmp_path: Path) -> Visitor:
    return Visitor(tmp_path)


def text(answer: Answer) -> str:
    found = json.loads(answer.body)["text"]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("cookie", ["", "__Host-aim=", "__Host-aim=guessed"])
def test_without_the_code_there_is_nothing(visitor: Visitor, method: str, path: str, cookie: str) -> None:
    visitor.cookie = cookie
    answer = visitor.ask(method, path, {})
    assert (answer.status, text(answer)) == (403, "the code is needed first")
    assert visitor.waited == [], "no picture was fetched"
    assert visitor.path.read_text() == SHIPPED
    assert not visitor.session.ended.is_set()


def test_the_page_itself_holds_no_secret(visitor: Visitor) -> None:
    page = visitor.ask("GET", "/")
    assert page.status == 200
    assert visitor.session.code.encode() not in page.body
    assert b"front-door" not in page.body


def test_the_cookie_is_for_this_host_for_encrypted_requests_and_for_no_script(visitor: Visitor) -> None:
    parts = dict(visitor.enter().headers)["Set-Cookie"].split("; ")
    assert parts[0].startswith("__Host-aim=")
    assert set(parts[1:]) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}


def test_with_the_code_the_picture_comes_with_its_facts(visitor: Visitor) -> None:
    assert visitor.enter().status == 204
    visitor.clock.advance(60)
    answer = visitor.ask("GET", "/look?after=6")
    length = int.from_bytes(answer.body[:4])
    facts = json.loads(answer.body[4 : 4 + length])
    assert answer.body[4 + length :] == JPEG
    assert (facts["number"], facts["left_s"], facts["temp_c"], facts["look"]["focus"]) == (7, 540, 54.0, 1.5)
    assert [number for number, _ in visitor.waited] == [6]


@pytest.mark.parametrize("query", ["", "?after=", "?after=-1", "?after=x", "?after=" + "9" * 99, "?after=²"])
def test_a_number_that_is_none_counts_as_no_picture_yet(visitor: Visitor, query: str) -> None:
    visitor.enter()
    assert visitor.ask("GET", f"/look{query}").status == 200
    assert visitor.waited[-1][0] == 0


def test_wrong_codes_are_counted_down_and_the_fifth_ends_it(visitor: Visitor) -> None:
    texts = [text(visitor.ask("POST", "/code", {"code": f"wrong{count}"})) for count in range(MAX_WRONG_CODES)]
    assert texts[0] == "not the code; 4 attempts left"
    assert texts[3] == "not the code; 1 attempt left"
    assert texts[4] == "aiming has ended: too many wrong codes"
    late = visitor.ask("POST", "/code", {"code": visitor.session.code})
    assert late.status == 410
    assert not any(name == "Set-Cookie" for name, _ in late.headers)
    assert visitor.session.ended.is_set()


def test_a_second_browser_is_told_that_the_code_is_used(visitor: Visitor) -> None:
    visitor.enter()
    visitor.cookie = ""
    again = visitor.ask("POST", "/code", {"code": visitor.session.code})
    assert (again.status, text(again)) == (403, "the code was used already; it opens for one browser, once")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"code": 1}', b'{"code": null}', b"\xff", b"[" * 60_000])
def test_what_is_no_code_counts_as_no_attempt(visitor: Visitor, body: bytes) -> None:
    assert visitor.ask("POST", "/code", body).status == 400
    assert visitor.session.gate().wrong_codes == 0


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/code"), *PROTECTED])
def test_after_its_time_everything_is_refused(visitor: Visitor, method: str, path: str) -> None:
    visitor.enter()
    visitor.clock.advance(600)
    answer = visitor.ask(method, path, {})
    assert (answer.status, text(answer)) == (410, "aiming has ended: its time is over")
    assert visitor.waited == []


def test_done_ends_it(visitor: Visitor) -> None:
    visitor.enter()
    assert visitor.ask("POST", "/done", {}).status == 204
    assert visitor.session.gate().ended_by is Event.DONE


def test_the_cookie_alone_writes_nothing_for_another_site(visitor: Visitor) -> None:
    visitor.enter()
    assert visitor.ask("POST", "/done", {}, origin="https://evil.example").status == 403
    assert visitor.ask("POST", "/done", {}, host="evil.example:8443").status == 421
    assert visitor.ask("GET", "/look", host="evil.example:8443").status == 421
    assert not visitor.session.ended.is_set()
    assert visitor.waited == []


def test_shapes_are_read_and_written_and_the_eyes_learn_of_it(visitor: Visitor) -> None:
    visitor.enter()
    found = json.loads(visitor.ask("GET", "/shapes").body)
    assert [line["name"] for line in found["lines"]] == ["entrance"]
    assert found["is_writable"] is True
    page = {"base": found["base"], "camera": {"masks": []}, "counting": {"lines": [], "zones": found["zones"]}}
    saved = json.loads(visitor.ask("POST", "/shapes", page).body)
    assert saved["changed"] == [{"key": "counting.lines", "effect": "live"}]
    assert saved["lines"] == []
    assert [config.counting.lines for config in visitor.configured] == [()]
    assert visitor.ask("POST", "/shapes", page).status == 409, "it was drawn on the version before"
    wrong = {**page, "base": saved["base"], "counting": {"lines": [], "zones": found["zones"] * 2}}
    refused = visitor.ask("POST", "/shapes", wrong)
    assert refused.status == 422
    assert "counting.zones[1].name: expected a name of its own, found counter a second time" in text(refused)
    assert len(visitor.configured) == 1


def test_the_page_runs_the_script_and_the_style_that_stand_in_it_and_asks_for_no_others(visitor: Visitor) -> None:
    answer = visitor.ask("GET", "/")
    page, policy = answer.body.decode(), dict(answer.headers)["Content-Security-Policy"]
    for tag, name in (("script", "page.js"), ("style", "page.css")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert text == (PARTS / name).read_text()
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert not re.search("<link|src=|href=", page.partition("<script>")[0])


def test_every_answer_says_that_it_is_not_to_be_kept_or_framed(visitor: Visitor) -> None:
    answers = [visitor.ask("GET", "/"), visitor.ask("GET", "/look"), visitor.enter(), visitor.ask("GET", "/look")]
    for answer in answers:
        headers = dict(answer.headers)
        assert headers["Cache-Control"] == "no-store"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
