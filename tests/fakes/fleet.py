"""Simulated devices on a real broker, and an operator's desk with keys, releases and a configuration.

Each device is a client of its own with a mind (`Mind`) that decides what to tell about a command: a scripted one, or
the real update code.
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
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
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


class Mind(Protocol):
    """What decides in a device. `take` is called in the fleet's thread, and must not wait."""

    def take(self, content: bytes) -> None:
        """Begin to deal with a published command."""

    def reports(self) -> Iterable[tuple[int, bytes]]:
        """Events since the last call, in order, with their numbers."""


class ScriptedMind:
    """Judges a command by the device's own rules, then commits good releases and rolls back from bad ones at once.

    Says nothing at all where it `is_mute`. For tests of the operator's tool, which need many devices that answer at
    once; scripts/fleet-drill has the real update code (`fleet_process.py`).
    """

    def __init__(self, device: str, *, is_mute: bool = False) -> None:
        self.active: ReleaseId = OLD
        self.is_touched = False
        self.contents: dict[int, set[bytes]] = defaultdict(set)  # by sequence number, whatever was made of it
        self._previous: ReleaseId = OLD
        self._floors = Floors()
        self._is_mute = is_mute
        self._facts = facts(device)
        self._boot, self._seq = secrets.token_hex(8), 0
        self._reports: deque[tuple[int, bytes]] = deque()

    def take(self, content: bytes) -> None:
        signed, _ = read_message(content)
        self.contents[signed.command.seq].add(content)
        refusal = judge(signed, self._facts, self._floors, ClockReading(time.time(), is_synchronised=True))
        if refusal is not None:
            return
        self._floors = replace(self._floors, seq_seen=signed.command.seq, command_sha256=signed.sha256)
        self.is_touched = True
        if not self._is_mute:
            self._follow(signed)

    def reports(self) -> Iterator[tuple[int, bytes]]:
        while self._reports:
            yield self._reports.popleft()

    def _follow(self, signed: SignedCommand) -> None:
        command = signed.command
        name, wanted = CommandId(id=command.id, seq=command.seq), command.release
        if wanted is None:
            self.active = self._previous if command.op == "rollback" else self.active
            ends: dict[str, Phase] = {"rollback": "rolled_back", "cancel": "cancelled"}
            self._tell(name, ends.get(command.op, "committed"))
            return
        version = int(Path(wanted.path).stem)
        release = ReleaseId(name="person", version=version, sha256=wanted.sha256)
        for phase in _STEPS:
            self._tell(name, phase, release)
        if version == BAD:
            self._tell(name, "rolled_back", release, "E_TRIAL_LATENCY")
        else:
            self._previous, self.active = self.active, release
            self._tell(name, "committed", release)

    def _tell(self, command: CommandId, phase: Phase, release: ReleaseId | None = None, code: str = "") -> None:
        self._seq += 1
        event = Event(
            device=self._facts.device_id,
            boot=self._boot,
            seq=self._seq,
            lost=0,
            app="0.1.0",
            at=int(time.time()),
            command=command,
            phase=phase,
            code=code,
            release=release,
            active=self.active,
        )
        self._reports.append((self._seq, event_message(event)))


def facts(device: str) -> DeviceFacts:
    """What a device of the fleet is."""
    return DeviceFacts(
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


class SimulatedDevice:
    """A client that is online, hands commands to its mind and publishes what that reports."""

    def __init__(self, port: int, device: str, mind: Mind) -> None:
        self.mind = mind
        self._device = device
        self._topics = Topics(TENANT, device)
        self.told: set[int] = set()
        self.is_subscribed = threading.Event()
        self.client = paho.Client(CallbackAPIVersion.VERSION2, device, clean_session=True)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.is_subscribed.set()
        self.client.on_message = lambda _client, _data, message: self.mind.take(bytes(message.payload))
        self.client.connect("127.0.0.1", port)

    def tell(self) -> None:
        """Publish what there is to report."""
        for seq, event in self.mind.reports():
            self.told.add(seq)
            self.client.publish(self._topics.report("event"), event, qos=1)

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        status = status_message("online", device=self._device, boot=secrets.token_hex(8), app_version="0.1.0")
        client.publish(self._topics.status, status, qos=1, retain=True)
        client.subscribe([(self._topics.command, 1), (fleet_command(TENANT), 1)])


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
            assert device.is_subscribed.wait(60), f"{name}: the broker does not answer"
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
            for device in self.devices.values():
                device.tell()
                if device.client.want_write():
                    device.client.loop_write()
                device.client.loop_misc()


def device_ids(numbers: Iterable[int]) -> list[str]:
    """The ids of the devices with these numbers."""
    return [f"device-{number:04}" for number in numbers]


def scripted(count: int, mute: Iterable[str] = ()) -> dict[str, ScriptedMind]:
    """So many minds, by device id."""
    silent = set(mute)
    return {device: ScriptedMind(device, is_mute=device in silent) for device in device_ids(range(count))}


class Desk:
    """An operator's folder: keys without passphrase, operator.yaml, a repository (its own has releases 7 and 8)."""

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
            "--keys": words[0] in ("devices", "release")
            or words[1] in ("watch", "status", "pause", "resume", "approve", "halt"),
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
        timing = {"soak_s": 0.2, "report_timeout_s": 60}
        plan = {
            "name": f"person-{version}",
            "release": f"releases/person/{version}.json",
            "settle_s": 0.1,
            "halt_timeout_s": 60,
            "waves": [{**timing, **wave} for wave in waves],
            **changes,
        }
        path = self.folder / f"plan-{version}.yaml"
        path.write_text(yaml.safe_dump(plan))
        return path
