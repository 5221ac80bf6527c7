"""Simulated devices on a real broker, and an operator's desk with keys, releases and a configuration.

Each device is a client of its own with a mind (`Mind`) that decides what to tell about a command. `ScriptedMind` judges
the command with the device's own rules (`edgeapp.updates.command.judge`) and then does as its release's fate says; the
real update code takes its place by passing another `make_mind` to `SimulatedFleet`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import select
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import paho.mqtt.client as paho
import yaml
from paho.mqtt.enums import CallbackAPIVersion

from edgeapp.messaging.topics import Topics, fleet_command
from edgeapp.telemetry.message import status_message
from edgeapp.updates.command import SignedCommand, judge, read_message
from edgeapp.updates.facts import ClockReading, DeviceFacts, Floors
from edgeapp.updates.messages import CommandId, Event, Phase, ReleaseId, event_message
from edgeapp.workshop.keyring import Keyring
from tests.fakes.releases import Repository, manifest

ROOT = Path(__file__).parents[2]
TENANT = "default"
GOOD, BAD = 7, 8  # versions of releases; devices are started with 6
OLD = ReleaseId(name="person", version=6, sha256="0" * 64)
_STEPS: tuple[Phase, ...] = ("received", "verified", "downloading", "staged", "selftest", "standby", "trial")
_ALL_OPS = ("install", "rollback", "cancel", "pin", "unpin", "status")


@dataclass(frozen=True, slots=True)
class Word:
    """One thing to tell of a command."""

    command: CommandId
    phase: Phase
    code: str
    release: ReleaseId | None
    active: ReleaseId | None


class Mind(Protocol):
    """What decides in a device: the seam for the real update code."""

    def take(self, content: bytes) -> Iterable[Word]:
        """Deal with a published command; what to tell of it, in order."""


class ScriptedMind:
    """Commits good releases, rolls back from bad ones in the trial, says nothing at all where it `is_mute`."""

    def __init__(self, device: str, *, is_mute: bool = False) -> None:
        self.active: ReleaseId = OLD
        self.is_touched = False
        self.contents: dict[int, set[bytes]] = defaultdict(set)  # by sequence number, whatever was made of it
        self._previous: ReleaseId = OLD
        self._floors = Floors()
        self._is_mute = is_mute
        self._facts = DeviceFacts(
            device_id=device,
            groups=frozenset(),
            app_version="0.1.0",
            runtime="ai-edge-litert",
            runtime_version="2.3.0",
            delegate="xnnpack",
            arch="aarch64",
            board="Raspberry Pi 4",
            ram_mb=2000.0,
        )

    def take(self, content: bytes) -> Iterator[Word]:
        signed, _ = read_message(content)
        self.contents[signed.command.seq].add(content)
        refusal = judge(signed, self._facts, self._floors, ClockReading(time.time(), is_synchronised=True))
        if refusal is not None:
            return
        self._floors = replace(self._floors, seq_seen=signed.command.seq, command_sha256=signed.sha256)
        self.is_touched = True
        if not self._is_mute:
            yield from self._follow(signed)

    def _follow(self, signed: SignedCommand) -> Iterator[Word]:
        command = signed.command
        name, wanted = CommandId(id=command.id, seq=command.seq), command.release
        if wanted is None:
            self.active = self._previous if command.op == "rollback" else self.active
            ends: dict[str, Phase] = {"rollback": "rolled_back", "cancel": "cancelled"}
            yield Word(name, ends.get(command.op, "committed"), "", None, self.active)
            return
        version = int(Path(wanted.path).stem)
        release = ReleaseId(name="person", version=version, sha256=wanted.sha256)
        for phase in _STEPS:
            yield Word(name, phase, "", release, self.active)
        if version == BAD:
            yield Word(name, "rolled_back", "E_TRIAL_LATENCY", release, self.active)
        else:
            self._previous, self.active = self.active, release
            yield Word(name, "committed", "", release, self.active)


class SimulatedDevice:
    """A client that is online, tells what its mind tells, and numbers its reports."""

    def __init__(self, port: int, device: str, mind: Mind) -> None:
        self.mind = mind
        self._device, self._boot, self._seq = device, secrets.token_hex(8), 0
        self._topics = Topics(TENANT, device)
        self.told: set[int] = set()
        self.is_subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, device, clean_session=True)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.is_subscribed.set()
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        status = status_message("online", device=self._device, boot=self._boot, app_version="0.1.0")
        client.publish(self._topics.status, status, qos=1, retain=True)
        client.subscribe([(self._topics.command, 1), (fleet_command(TENANT), 1)])

    def _on_message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        for word in self.mind.take(bytes(message.payload)):
            self._seq += 1
            self.told.add(self._seq)
            event = Event(
                device=self._device,
                boot=self._boot,
                seq=self._seq,
                lost=0,
                app="0.1.0",
                at=int(time.time()),
                command=word.command,
                phase=word.phase,
                code=word.code,
                release=word.release,
                active=word.active,
            )
            client.publish(self._topics.report("event"), event_message(event), qos=1)


class SimulatedFleet:
    """Use as a context: the devices are online inside of it. One thread with one poll serves them all.

    paho's own threads use select, which ends at a descriptor of 1024, some 300 clients.
    """

    def __init__(self, port: int, minds: dict[str, Mind]) -> None:
        self._port, self._minds = port, minds
        self._is_ended = False
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def __enter__(self) -> SimulatedFleet:
        self.devices = {device: SimulatedDevice(self._port, device, mind) for device, mind in self._minds.items()}
        self._thread.start()
        for name, device in self.devices.items():
            assert device.is_subscribed.wait(20), f"{name}: the broker does not answer"
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended = True
        self._thread.join()
        for device in self.devices.values():
            device.client.disconnect()

    def told(self) -> set[tuple[str, int]]:
        """Every report that a device has sent."""
        return {(name, seq) for name, device in self.devices.items() for seq in device.told.copy()}

    def _run(self) -> None:
        poller, clients = select.poll(), {}
        for device in self.devices.values():
            link = device.client.socket()
            assert link is not None
            clients[link.fileno()] = device.client
            poller.register(link.fileno(), select.POLLIN)
        while not self._is_ended:
            for descriptor, _ in poller.poll(20):
                clients[descriptor].loop_read()
            for client in clients.values():
                if client.want_write():
                    client.loop_write()
                client.loop_misc()


def scripted(count: int, mute: Iterable[str] = ()) -> dict[str, ScriptedMind]:
    """So many minds, by device id."""
    silent = set(mute)
    ids = [f"device-{number:04}" for number in range(count)]
    return {device: ScriptedMind(device, is_mute=device in silent) for device in ids}


class Desk:
    """An operator's folder: keys without passphrase, operator.yaml, a repository (of its own: with releases 7 and 8)."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        operators: Iterable[str] = ("anna",),
        threshold: int = 1,
        repository: Repository | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.state = folder, folder / "operator-state"
        keyring = Keyring(folder / "keys")
        entries: list[dict[str, Any]] = []
        for name in operators:
            public = keyring.create(name)
            keyid = keyring.signer(name).public_key.keyid
            entries.append({"name": name, "keyid": keyid, "public": public, "ops": list(_ALL_OPS)})
        self.repository = repository or Repository(now=datetime.now(UTC))
        self.repository.set_operators(*entries, threshold=threshold)
        if repository is None:
            self.repository.add_release(manifest(BAD))
        self.repository.write(folder / "repository")
        content = {"tenant": TENANT, "mqtt": {"host": "127.0.0.1", "port": port}}
        (folder / "operator.yaml").write_text(yaml.safe_dump(content))

    def sha256(self, version: int) -> str:
        """The hash of a release's manifest."""
        return hashlib.sha256(self.repository.contents[f"releases/person/{version}.json"]).hexdigest()

    def arguments(self, *words: str) -> list[str]:
        """The command line of `words`, with everything that is needed to run it from anywhere."""
        options = {"--config": "operator.yaml", "--keys": "keys", "--repository": "repository"}
        unused = {
            "--keys": words[0] == "devices" or words[1] in ("watch", "status", "pause", "resume", "approve", "halt"),
            "--repository": words[0] == "devices" or words[:2] == ("rollout", "status"),
            "--config": words[:2] == ("command", "sign"),
        }
        if words[0] == "command" and words[1] == "status":
            unused["--keys"] = False
        if words[:2] == ("command", "send"):
            unused["--keys"] = True
        given = [part for name, file in options.items() if not unused[name] for part in (name, str(self.folder / file))]
        return [*words, *given, "--json", "--yes"]

    @contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The tool as a process of its own, to be killed."""
        command = [sys.executable, "-m", "edgeapp.workshop.cli", *self.arguments(*words)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run the tool as a process of its own; its status and what it printed."""
        with self.started(*words) as process:
            output, _ = process.communicate(timeout=600)
        found: dict[str, Any] = json.loads(output)
        return process.returncode, found

    def write_plan(self, version: int, waves: list[dict[str, Any]], **changes: Any) -> Path:
        """A plan with short times."""
        timing = {"soak_s": 0.2, "report_timeout_s": 20}
        plan = {
            "name": f"person-{version}",
            "release": f"releases/person/{version}.json",
            "settle_s": 0.1,
            "halt_timeout_s": 10,
            "waves": [{**timing, **wave} for wave in waves],
            **changes,
        }
        path = self.folder / f"plan-{version}.yaml"
        path.write_text(yaml.safe_dump(plan))
        return path
