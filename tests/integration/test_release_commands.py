"""The release engineer's commands as they are typed, on real files and a real broker."""

from __future__ import annotations

import json
import queue
import re
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeapp.config import MqttConfig
from edgeapp.errors import ReleaseError
from edgeapp.escalation.consent import read_consent
from edgeapp.messaging.blocks import BlockLink
from edgeapp.system.files import write_durably
from edgeapp.updates.broker_files import BrokerFiles
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.download import Blob, download
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.metadata import fetch_target, refresh
from edgeapp.updates.sources import BLOCK_BYTES, BrokerSource
from edgeapp.workshop.broker_blocks import Address, BrokerBlocks, read_address
from edgeapp.workshop.cli import main
from edgeapp.workshop.releases import as_a_device
from tests.fakes.broker import Broker
from tests.fakes.certificates import Authority
from tests.fakes.subscriber import Subscriber
from tests.fakes.tiny_models import make_model_folder
from tests.fakes.workshop_lab import request

_ROOT = Path(__file__).parents[2]
FACTS = {"accuracy": {"metric": "mAP", "data_set": "street", "float_model": 0.61, "quantized": 0.6, "floor": 0.55}}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


class Shell:
    """Types commands, and reads the JSON that they answer."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, command: str) -> dict[str, Any]:
        """What a command that goes well answers."""
        status, answer = self._answer(command)
        assert status == 0, answer
        return answer

    def fail(self, command: str) -> str:
        """Why a command does not go well."""
        status, answer = self._answer(command)
        assert (status, sorted(answer)) == (1, ["error", "text"])
        return str(answer["text"])

    def _answer(self, command: str) -> tuple[int, dict[str, Any]]:
        status = main([*command.split(), "--json"])
        answer: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return status, answer


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """In a folder with a model, its float twin, pictures, facts and a passphrase."""
    request(tmp_path)
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    (tmp_path / "passphrase").write_text("open sesame\n")
    monkeypatch.setenv("PYTHONPATH", str(_ROOT))  # the self-test's child starts elsewhere
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


CREATE = "release create int8 --float float32 --pictures pictures --semver 1.7.0 --facts facts.json --out out"

ORDER = ("root 1: t", "targets 1", "targets 2", "root 2: t", "targets 3")


def test_the_walk_through_works_as_written(shell: Shell, tmp_path: Path) -> None:
    text = (_ROOT / "docs" / "releases.md").read_text()
    (facts,) = re.findall(r"^```json\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```sh\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    commands = re.findall(r"^edgeapp-workshop (.+)$", "".join(blocks), re.MULTILINE)
    assert len(commands) == 13
    (tmp_path / "facts.json").write_text(facts)
    make_model_folder(tmp_path / "int8", name="pedestrian", version=7)
    takes_passphrase = ("keys init", "keys rotate", "keys add", "release sign", "release publish")
    answers = []
    for command in commands:
        opened = " --passphrase-file passphrase" if command.startswith(takes_passphrase) else ""
        answers.append(shell.run(f"{command}{opened} --yes"))
    first, second = (answer for answer in answers if answer.get("signed_by", "")[:1] in (["targets1"], ["targets2"]))
    assert ([one["missing"] for one in first["staged"]], second["staged"]) == ([1], [])
    assert "ENCRYPTED" in (tmp_path / "keys" / "targets1.pem").read_text()
    (listed,) = shell.run("release list")["releases"]
    assert (listed["release"], listed["withdrawn"]) == ("pedestrian/7", True)
    trusted = as_a_device(tmp_path / "www", (tmp_path / answers[0]["root"]).read_bytes(), datetime.now(UTC))
    assert (trusted.versions.root, trusted.versions.targets) == (2, 3)
    assert trusted.targets["releases/pedestrian/7.json"].custom["withdrawn"] is True
    assert {key["name"] for key in shell.run("keys list")["keys"] if key["role"] == "operators"} == {"ben"}
    told = shell.run("release history")["entries"]
    told.sort(key=lambda one: (one["at_s"], ORDER.index(one["what"][:9])))  # times are in whole seconds
    assert [one["what"] for one in told] == [
        "root 1: the keys of the repository",
        "targets 1: the first operators",
        "targets 2: new release pedestrian/7",
        "root 2: the keys of the repository",
        "targets 3: other operators; pedestrian/7 withdrawn",
    ]
    assert told[2]["by"] == ["targets1", "targets2"]
    assert len(told[4]["by"]) == 2
    about = shell.run("release history pedestrian/7")["entries"]
    assert [one["what"][:9] for one in about] == ["targets 2", "targets 3"]


def test_a_stick_gets_a_folder_of_its_own(shell: Shell, tmp_path: Path) -> None:
    shell.run("keys init --no-passphrase")
    (tmp_path / "stick").mkdir()
    assert shell.run(f"release publish --to usb:{tmp_path / 'stick'}")["files"] == 5
    assert (tmp_path / "stick" / "edgeapp" / "metadata" / "timestamp.json").is_file()


def test_keys_come_and_go_and_the_list_says_what_expires(shell: Shell) -> None:
    shell.run("keys init --no-passphrase")
    shell.run("keys add-operator ben --ops cancel,status --no-passphrase")
    elsewhere = shell.run("keys new targets9 --keys stick --no-passphrase")["public"]
    assert shell.run(f"keys rotate targets1 --public {elsewhere} --yes")["done"] == "targets1 → targets4"
    assert shell.run("keys rotate timestamp --no-passphrase --yes")["done"] == "timestamp1 → timestamp2"
    shell.run("keys revoke operator1 --yes")
    shell.run("release sign --yes")
    shell.run("repository refresh")
    listed = shell.run("keys list")
    keys = {key["name"]: (key["role"], key["at_hand"], key["ops"]) for key in listed["keys"]}
    assert keys["targets4"] == ("targets", False, [])
    assert keys["timestamp2"] == ("timestamp", True, [])
    assert keys["ben"] == ("operators", True, ["cancel", "status"])
    assert not {"targets1", "timestamp1", "operator1"} & keys.keys()
    words = {role["role"]: (role["version"], role["words"].split(" (")[0]) for role in listed["roles"]}
    assert words == {
        "root": (2, "in 12 months"),
        "targets": (2, "in 6 months"),
        "snapshot": (2, "in 30 days"),
        "timestamp": (2, "in 14 days"),
    }
    assert listed["staged"] == []
    (renewed,) = shell.run("repository renew root")["staged"]
    assert (renewed["role"], renewed["version"]) == ("root", 3)
    assert shell.run("repository discard --yes") == {"staged": []}


def test_nothing_dangerous_happens_unasked_and_nobody_is_asked_without_a_terminal(shell: Shell) -> None:
    assert "--no-passphrase" in shell.fail("keys init")
    shell.run("keys init --no-passphrase")
    shell.run(CREATE)
    for command, question in (
        ("keys revoke operator1", "Revoke operator1 (operators)?"),
        ("keys rotate root", "Replace root1, root2, root3?"),
        ("release sign out", "Sign this?"),
        ("release withdraw bright-spot/7", "Withdraw bright-spot/7?"),
        ("release unpublish bright-spot/7 --to mqtt://127.0.0.1/t", "Clear the blocks of bright-spot/7"),
    ):
        said = shell.fail(command)
        assert question in said
        assert "Expected --yes" in said
    assert [one["signed"] for one in shell.run("keys list")["staged"]] == [[]]
    assert "expected an operation" in shell.fail("keys add-operator ben --ops reboot --no-passphrase")


def test_a_device_pulls_from_the_broker_what_was_published_there(shell: Shell, broker: Broker, tmp_path: Path) -> None:
    shell.run("keys init --no-passphrase")
    shell.run(CREATE)
    shell.run("release sign out --yes")
    to = f"--to mqtt://127.0.0.1:{broker.port}/site/models"
    assert shell.run(f"release publish {to}")["blocks_sent"] == 3
    assert shell.run(f"release publish bright-spot/7 {to}")["blocks_sent"] == 0
    for path in (tmp_path / "out" / "blobs").iterdir():
        assert _pull(broker, path.name, path.stat().st_size, tmp_path / "part") == path.read_bytes()
    assert shell.run(f"release unpublish bright-spot/7 {to} --yes")["files"] == 3
    with Subscriber(broker.port) as reader:
        time.sleep(0.2)
        assert reader.messages == []
    shell.run("release withdraw bright-spot/7 --yes")
    assert "found it withdrawn" in shell.fail(f"release publish bright-spot/7 {to}")


def test_the_broker_keeps_the_consents_of_its_tenant_and_never_an_older_state(
    shell: Shell, broker: Broker, tmp_path: Path
) -> None:
    shell.run("keys init --no-passphrase")
    to = f"--to mqtt://127.0.0.1:{broker.port}/edgeapp/v1/acme"
    assert shell.run(f"release publish {to}")["consents"] is None, "none was ever given: nothing is kept"
    with Subscriber(broker.port) as reader:
        time.sleep(0.2)
        assert reader.messages == []
    said = "--purpose second --host oracle.example.org --responsible anna --retention-days 0 --days 9"
    for who in ("--tenant acme", "--tenant acme --device door", "--tenant other"):
        shell.run(f"site allow {who} {said} --yes")
    shell.run("release sign --yes")
    shutil.copytree(tmp_path / "repository", tmp_path / "older")
    assert shell.run(f"release publish {to}")["consents"] == 2
    files = BrokerFiles(lambda: _link(broker), "edgeapp/v1/acme/_all/sites")
    root = (tmp_path / "repository" / "metadata" / "1.root.json").read_bytes()
    (tmp_path / "tuf").mkdir()
    clock = ClockReading(time.time() + 1, is_synchronised=True)
    trusted = refresh(tmp_path / "tuf", root, files, clock, Floors())
    for path in ("sites/acme.json", "sites/acme/door.json"):
        read_consent(fetch_target(files, trusted, path, 1 << 14), path)
    with pytest.raises(UpdateError, match="not in the message"):
        fetch_target(files, trusted, "sites/other.json", 1 << 14)
    for who in ("--tenant acme", "--tenant acme --device door"):
        shell.run(f"site revoke {who} --yes")
    shell.run("release sign --yes")
    assert shell.run(f"release publish {to}")["consents"] == 0, "what was taken back is told, too"
    assert "is not the newest" in shell.fail(f"release publish {to} --repository older")


def _link(broker: Broker) -> BlockLink:
    return BlockLink(
        MqttConfig(host="127.0.0.1", port=broker.port), "door-sites", lambda text: UpdateError(Code.E_NET, text)
    )


def test_blocks_go_on_where_they_stopped_and_wrong_ones_are_replaced(broker: Broker, tmp_path: Path) -> None:
    content = bytes(range(256)) * 256 * 40 + b"the rest"  # 41 blocks
    sha256 = "ab" * 32
    path = tmp_path / "blob"
    write_durably(path, content)
    with BrokerBlocks(Address("127.0.0.1", broker.port, "t")) as blocks:

        def stop(_: str, share: float) -> None:
            if share > 0.5:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            blocks.put(path, sha256, stop)
    client = _client(broker)
    client.publish(f"t/blobs/{sha256}/3", b"another", qos=1, retain=True).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    shares: list[float] = []
    with BrokerBlocks(Address("127.0.0.1", broker.port, "t")) as blocks:
        sent = blocks.put(path, sha256, lambda _, share: shares.append(share))
        assert 1 <= sent < 41
        assert blocks.put(path, sha256) == 0
    assert (shares == sorted(shares), shares[-1]) == (True, 1.0)
    assert _blocks_kept(broker, 41) == [content[i : i + BLOCK_BYTES] for i in range(0, len(content), BLOCK_BYTES)]


def test_a_broker_that_drops_what_it_acknowledges_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic read #\ntopic t/blobs/+/asked\n")
    path = tmp_path / "blob"
    write_durably(path, b"content")
    with (
        Broker(tmp_path / "broker", options=[f"acl_file {tmp_path / 'acl'}"]) as broker,
        BrokerBlocks(Address("127.0.0.1", broker.port, "t")) as blocks,
        pytest.raises(ReleaseError, match="may this user publish there"),
    ):
        blocks.put(path, "ab" * 32)


def test_a_user_with_a_password_is_let_in_and_one_without_is_told(tmp_path: Path) -> None:
    with Broker(tmp_path / "broker", users={"anna": "secret"}) as broker:
        with BrokerBlocks(Address("127.0.0.1", broker.port, "t", "anna"), "secret"):
            pass
        with pytest.raises(ReleaseError, match="Not authorized"), BrokerBlocks(Address("127.0.0.1", broker.port, "t")):
            pass
    with pytest.raises(ReleaseError, match="expected a broker"), BrokerBlocks(Address("127.0.0.1", broker.port, "t")):
        pass


def test_only_a_broker_of_the_authority_gets_blocks(tmp_path: Path) -> None:
    authority, stranger = (Authority(tmp_path / "pki", name) for name in ("authority", "stranger"))
    shown = authority.sign("broker")
    files = [f"cafile {authority.cert}", f"certfile {shown.cert}", f"keyfile {shown.key}"]
    path = tmp_path / "blob"
    write_durably(path, b"content")
    with Broker(tmp_path / "broker", options=files) as broker:
        address = Address("127.0.0.1", broker.port, "t", is_tls=True)
        with BrokerBlocks(address, ca_file=authority.cert) as blocks:
            assert blocks.put(path, "ab" * 32) == 1
        with pytest.raises(ReleaseError, match="certificate"), BrokerBlocks(address, ca_file=stranger.cert):
            pass


def test_the_address_of_a_broker() -> None:
    assert read_address("mqtts://anna@example.org/a/b/") == Address("example.org", 8883, "a/b", "anna", is_tls=True)
    for wrong in ("http://host/a", "mqtt://host", "mqtt:///a", "mqtt://host/a/#", "mqtt://u:p@host/a", "mqtt://h:x/a"):
        with pytest.raises(ReleaseError, match="expected mqtt"):
            read_address(wrong)


def _client(broker: Broker) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    return client


def _blocks_kept(broker: Broker, count: int) -> list[bytes]:
    with Subscriber(broker.port) as reader:
        deadline_s = time.monotonic() + 60
        while len(reader.messages) < count and time.monotonic() < deadline_s:
            time.sleep(0.01)
        return [one.payload for one in sorted(reader.messages, key=lambda one: int(one.topic.rpartition("/")[2]))]


class _Link:
    """A device's link to the broker, as BrokerSource wants it."""

    def __init__(self, broker: Broker) -> None:
        self._messages: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._client = _client(broker)
        self._client.on_message = lambda _client, _data, message: self._messages.put((message.topic, message.payload))

    def ask(self, topic: str) -> None:
        self._client.subscribe(topic)

    def unask(self, topic: str) -> None:
        self._client.unsubscribe(topic)

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _pull(broker: Broker, sha256: str, length: int, part: Path) -> bytes:
    """A file as a device downloads it."""
    source = BrokerSource(lambda: _Link(broker), "site/models", "broker")
    part.unlink(missing_ok=True)
    assert download(Blob(sha256, length), [source], part, deadline_s=time.monotonic() + 60, stop=threading.Event())
    return part.read_bytes()
