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

from edgeapp.errors import CompareError
from edgeapp.escalation.answer import judge, read_answer
from edgeapp.types import AGREED, Box
from edgeapp.vision.model import Model
from edgeapp.workshop import cli
from edgeapp.workshop.compare import Request, compare
from edgeapp.workshop.places import Here
from edgeapp.workshop.reference_link import FarModel, Origin, read_origin
from tests.fakes.oracle_server import TOKEN, OracleServer, Reply, crop
from tests.fakes.tiny_models import make_model_folder
from tests.fakes.tiny_twins import make_float, make_int8, pictures


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


# --- golden references for compare


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A float model and an int8 build of it."""
    folder = tmp_path_factory.mktemp("twins")
    reference = make_float(folder / "float")
    return reference, make_int8(reference, folder / "int8", pictures(3, 1))


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, twins: tuple[Path, Path]) -> Iterator[OracleServer]:
    """It puts off who asks more than twenty times a second."""
    with OracleServer(tmp_path_factory.mktemp("golden"), "--rate", "20", model=twins[0]) as running:
        yield running


def origin(server: OracleServer, token: str = TOKEN) -> Origin:
    (server.folder / "shown").write_text(token + "\n")
    return read_origin(server.url, token_file=server.folder / "shown", ca_file=server.authority.cert)


def test_an_oracle_answers_for_a_reference_with_the_very_outputs_that_it_gives_here(
    golden: OracleServer, twins: tuple[Path, Path]
) -> None:
    far, near = FarModel(origin(golden)), Model.load(twins[0])
    assert far.manifest == near.manifest
    assert (far.input.shape, sorted(far.outputs)) == (near.input.shape, sorted(near.outputs))
    for picture in pictures(2, 5):
        values = near.preprocess(picture)
        np.testing.assert_array_equal(far.preprocess(picture), values)
        expected, found = near.run(values)[0], far.run(values)[0]
        for role, outputs in expected.items():
            np.testing.assert_allclose(found[role], outputs, rtol=1e-4, atol=1e-5)
    near.close()


@pytest.mark.timeout(600)  # two comparisons here and two there, on a busy machine
def test_compare_says_the_same_with_a_reference_far_away(
    golden: OracleServer, twins: tuple[Path, Path], tmp_path: Path
) -> None:
    """The oracle puts it off now and then; one edge model is honest, one was made of another reference."""
    reference, honest = twins
    stranger = make_int8(make_float(tmp_path / "other", seed=77), tmp_path / "stranger", pictures(3, 1))
    shown = [(str(number), picture) for number, picture in enumerate(pictures(12, 3))]
    culprits = []
    for edge in (honest, stranger):
        near = compare(Request(reference=reference, edge=edge), shown, Here()).comparison
        far = compare(Request(reference=origin(golden), edge=edge), shown, Here()).comparison
        assert [(one.name, one.answer) for one in far.stages] == [(one.name, one.answer) for one in near.stages]
        assert far.agreement.f1 == near.agreement.f1
        assert far.reference_sha256 == near.reference_sha256 == Model.load(reference).report.sha256
        assert (far.is_watched, near.is_watched) == (False, True)
        for one, other in zip(far.stages, near.stages, strict=True):
            assert [gap.db for gap in one.gaps] == pytest.approx([gap.db for gap in other.gaps], abs=0.1)
        culprits.append(far.culprit and far.culprit.name)
    assert culprits == [None, "quantization"]
    assert golden.metric("edgeapp_oracle_requests_total") > 2 * 12


def test_the_command_names_the_far_reference_and_what_was_not_watched(
    golden: OracleServer, twins: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shown").mkdir()
    for number, picture in enumerate(pictures(12, 3)):
        cv2.imwrite(str(tmp_path / "shown" / f"{number}.png"), picture)
    (tmp_path / "token").write_text(TOKEN)
    arguments = [
        "compare", "--reference", golden.url, "--ca-file", str(golden.authority.cert), "--edge", str(twins[1]),
        "--pictures", str(tmp_path / "shown"), "--out", str(tmp_path / "report.html"),
    ]  # fmt: skip
    assert cli.main([*arguments, "--token-file", str(tmp_path / "token")]) == 0
    said = capsys.readouterr().out
    sha256 = Model.load(twins[0]).report.sha256
    assert "Equal in their outputs; no layer was watched." in said
    assert f"at 127.0.0.1), sha256 {sha256}" in said
    assert sha256 in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["reference_sha256"] == sha256
    assert cli.main(arguments) == 2
    assert "401: E_TOKEN" in capsys.readouterr().err
    assert cli.main([*arguments[:2], str(twins[0]), *arguments[3:]]) == 2
    assert "--ca-file: expected with --reference https" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "status", "code"), [(b"", 400, "E_TENSOR"), (b"1234", 400, "E_TENSOR"), (None, 413, "E_TOO_BIG")]
)
def test_what_is_no_input_tensor_is_refused(golden: OracleServer, body: bytes | None, status: int, code: str) -> None:
    size = FarModel(origin(golden))
    whole = int(np.prod(size.input.shape)) * 4
    reply = golden.ask(bytes(whole + 1) if body is None else body, path="/v1/reference")
    assert (reply.status, reply.fields["error"]) == (status, code)
    no_number = np.full(size.input.shape, np.nan, np.float32).tobytes()
    assert golden.ask(no_number, path="/v1/reference").fields["error"] == "E_TENSOR"


def test_who_is_not_known_gets_no_reference_and_a_reason(golden: OracleServer) -> None:
    with pytest.raises(CompareError, match=r"--token-file.*401: E_TOKEN: expected a known token"):
        FarModel(origin(golden, "not-the-token-of-it"))
    with pytest.raises(CompareError, match="certificate"):
        FarModel(read_origin(golden.url, token_file=golden.folder / "shown"))
    for address in ("http://oracle", "https://", "https://anna@oracle", "https://oracle:x"):
        with pytest.raises(CompareError, match="expected a model folder or https://"):
            read_origin(address)


def test_an_oracle_that_goes_or_gets_another_model_meanwhile_is_an_error(tmp_path: Path) -> None:
    with OracleServer(tmp_path) as oracle:
        far = FarModel(origin(oracle))
        values = np.zeros(far.input.shape, far.input.dtype)
        far.run(values)
        oracle.stop()
        with pytest.raises(CompareError, match="expected an answer, found"):
            far.run(values)
        make_model_folder(tmp_path / "model", dtype="float32", classes=("red", "green"))
        oracle.start()
        with pytest.raises(CompareError, match="expected all answers of the model"):
            far.run(values)
