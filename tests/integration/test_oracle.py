"""The oracle as devices meet it: it answers, refuses clearly, keeps nothing, and its end is noticed."""

from __future__ import annotations

import json
import signal
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeapp.escalation.answer import judge, read_answer
from edgeapp.types import AGREED, Box
from edgeapp.workshop import cli
from tests.fakes.oracle_server import OracleServer, Reply, crop


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleServer]:
    with OracleServer(tmp_path_factory.mktemp("oracle"), "--rate", "500") as running:
        yield running


def test_it_finds_what_is_in_a_crop(oracle: OracleServer) -> None:
    reply = oracle.ask(crop())
    assert reply.status == 200
    answer = read_answer(json.dumps(reply.fields).encode())
    assert answer.model.name
    (found, *_) = answer.detections
    assert judge(answer, "person", Box(*found.box)) == AGREED
    dark = cv2.imencode(".jpg", np.full((64, 64, 3), 16, np.uint8))[1].tobytes()
    assert oracle.ask(dark).fields["detections"] == []


@pytest.mark.parametrize(
    ("body", "token", "status", "code"),
    [
        (crop(), "", 401, "E_TOKEN"),
        (crop(), "another-token-here", 401, "E_TOKEN"),
        (b"no picture", None, 400, "E_CROP"),
        (crop()[:200], None, 400, "E_CROP"),
        (b"", None, 400, "E_CROP"),
        (bytes(70_000), None, 413, "E_TOO_BIG"),
        (cv2.imencode(".jpg", np.zeros((2100, 16, 3), np.uint8))[1].tobytes(), None, 400, "E_CROP"),
    ],
)
def test_what_it_does_not_answer_it_refuses_with_a_reason(
    oracle: OracleServer, body: bytes, token: str | None, status: int, code: str
) -> None:
    reply = oracle.ask(body) if token is None else oracle.ask(body, token=token)
    assert (reply.status, reply.fields["error"]) == (status, code)
    assert "expected" in reply.fields["text"]


def test_a_client_that_sends_slowly_is_let_go(oracle: OracleServer) -> None:
    connection = oracle.connect()
    connection.putrequest("POST", "/v1/ask")
    connection.putheader("Authorization", "Bearer a-token-of-this-test")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"x")
    response = connection.getresponse()
    assert response.status == 408
    assert b"E_SLOW" in response.read()
    connection.close()


def test_prometheus_is_told_how_it_does_and_only_on_this_machine(oracle: OracleServer) -> None:
    before = oracle.metric("edgeapp_oracle_latency_seconds_count")
    oracle.ask(crop())
    assert oracle.metric("edgeapp_oracle_latency_seconds_count") == before + 1
    assert oracle.metric("edgeapp_oracle_requests_total") > before
    rows = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [local for local, _, state in rows if state == "0A" and local.endswith(f":{oracle.metrics_port:04X}")]
    assert listening == [f"0100007F:{oracle.metrics_port:04X}"], "127.0.0.1 alone"


def test_one_client_cannot_take_all_and_is_told_when_to_come_again(tmp_path: Path) -> None:
    with OracleServer(tmp_path, "--rate", "0.1") as oracle:  # the next one in ten seconds, however slow this machine is
        replies = [oracle.ask(crop()) for _ in range(8)]
        refused = [reply for reply in replies if reply.status == 429]
        assert {reply.status for reply in replies} == {200, 429}
        assert all(reply.fields["error"] == "E_RATE" and int(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert not list(tmp_path.rglob("*.jpg")), "nothing is kept"
        assert oracle.stop() in (0, -signal.SIGTERM)


def test_what_is_kept_is_kept_only_where_it_was_told_to(tmp_path: Path) -> None:
    with OracleServer(tmp_path, "--keep", str(tmp_path / "kept")) as oracle:
        oracle.ask(crop())
        kept = sorted(path.suffix for path in (tmp_path / "kept").iterdir())
    assert kept == [".jpg", ".json"]


def test_with_an_authority_only_its_certificates_may_ask(tmp_path: Path) -> None:
    with OracleServer(tmp_path, needs_certificate=True) as oracle:
        assert oracle.ask(crop(), token="", signed=oracle.client).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            oracle.ask(crop(), token="")


def test_it_does_not_start_for_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["oracle", "serve", str(tmp_path), "--cert", "c.pem", "--key", "k.pem"]
    assert cli.main(arguments) == 1
    assert "who may ask, found neither" in capsys.readouterr().err
    (tmp_path / "token").write_text("short\n")
    assert cli.main([*arguments, "--token-file", str(tmp_path / "token")]) == 1
    assert "16 characters" in capsys.readouterr().err


def test_more_than_it_can_take_is_refused_and_the_rest_is_answered(tmp_path: Path) -> None:
    """Twelve clients at once on a place for two: whoever is refused hears it, nobody waits for ever."""
    with OracleServer(tmp_path, "--rate", "1000", "--waiting", "2", "--batch", "1", "--wait", "0.5") as oracle:
        gate = threading.Barrier(12)

        def ask(_: int) -> list[Reply]:
            gate.wait()
            return [oracle.ask(crop(512)) for _ in range(5)]

        with ThreadPoolExecutor(12) as pool:
            replies = [reply for found in pool.map(ask, range(12)) for reply in found]
    assert {reply.status for reply in replies} <= {200, 503}
    assert any(reply.status == 200 for reply in replies)
    for reply in replies:
        if reply.status == 503:
            assert reply.fields.get("error") in ("E_BUSY", "E_LATE") or "Service Unavailable" in reply.fields["text"]
