"""A whole device that follows commands: the real daemon, a real broker, releases of small real models on a stick."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeapp.types import UpdateHealth
from edgeapp.updates.state import State, parse
from edgeapp.vision.model import Model
from edgeapp.workshop.golden_writer import write_golden
from tests.fakes.device import Device
from tests.fakes.releases import Repository, manifest
from tests.fakes.subscriber import Subscriber
from tests.fakes.tiny_models import bright_spot, make_model_folder

NAME = "bright-spot"
PROBATION = {"duration_s": 2.0, "min_frames": 3, "max_p95_ratio": 20.0}
_TOPIC = "edgeapp/v1/default/test-device/cmd/update"
_NUMBERS = itertools.count(1)


class UpdatingDevice(Device):
    """Begins with release 1 as its factory model."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        program: str = "tests.fakes.synchronised_daemon",
        **sections: Any,
    ) -> None:
        self.repository = Repository(now=datetime.now(UTC).replace(microsecond=0))
        self.stick = folder / "stick"
        self._port = port
        (self.stick / "targets" / "blobs").mkdir(parents=True)
        (folder / "1.root.json").write_bytes(self.repository.first_root)
        updates = {
            "enabled": True,
            "root_file": str(folder / "1.root.json"),
            "folder": str(self.stick),
            "blocks": False,
            "jitter_s": 0.0,
            **sections.pop("updates", {}),
        }
        super().__init__(folder, port=port, program=program, updates=updates, **sections)

    def release(
        self,
        version: int,
        *,
        spoil: Callable[[Path], None] = lambda _: None,
        probation: dict[str, Any] = PROBATION,
        golden_bgr: tuple[int, int, int] = (255, 255, 255),
        **model: Any,
    ) -> Path:
        """Make and publish a release of a small model, whose golden case has a spot of a colour.

        `spoil` may change its folder before it is signed.
        """
        folder = make_model_folder(self.folder / f"made-{version}", version=version, name=NAME, **model)
        write_golden(folder, [bright_spot(64, 64, colour_bgr=colour) for colour in (golden_bgr, (16, 16, 16))])
        loaded = Model.load(folder)
        specs = (loaded.input, *loaded.outputs.values())
        tensors = {
            spec.name: {
                "shape": spec.shape,
                "dtype": spec.dtype,
                "scale": spec.scale,
                "zero_point": spec.zero_point,
            }
            for spec in specs
        }
        loaded.close()
        spoil(folder)
        described = json.loads((folder / "model.json").read_text())
        for spec in (described["model"], described["golden"]["cases"]):
            content = (folder / spec["file"]).read_bytes()
            spec.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
            (self.stick / "targets" / "blobs" / spec["sha256"]).write_bytes(content)
        compat = {"app": {"min": "0.1"}, "runtimes": {"ai-edge-litert": "2.0"}}
        self.repository.add_release(
            manifest(version, model=described, tensors=tensors, compat=compat, probation=probation)
        )
        return folder

    def message(
        self, op: str = "install", version: int | None = None, *, signer: str = "anna", **changes: Any
    ) -> bytes:
        """A signed command with the next sequence number."""
        number, now_s = next(_NUMBERS), int(time.time())
        path = f"releases/{NAME}/{version}.json"
        release = None
        if version is not None:
            release = {"path": path, "sha256": hashlib.sha256(self.repository.contents[path]).hexdigest()}
        times = {"iat": now_s - 5, "exp": now_s + 3600}
        fields = {"id": f"{op}-{number}", "seq": number, "op": op, "release": release, **times, **changes}
        return self.repository.message(signer, **fields)

    def publish(self, content: bytes, topic: str = _TOPIC) -> None:
        """Publish a command, or something else, retained."""
        self._publish([(topic, content, True)])

    def flood(self, count: int) -> None:
        """Publish so many commands that are none, or that nobody may give."""
        forged = self.message("status", signer="mallory")
        self._publish([(_TOPIC, forged if number % 2 else b"{%d" % number, False) for number in range(count)])

    def _publish(self, messages: list[tuple[str, bytes, bool]]) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.max_inflight_messages_set(100)
        client.connect("127.0.0.1", self._port)
        client.loop_start()
        sent = [client.publish(topic, content, qos=1, retain=retain) for topic, content, retain in messages]
        for one in sent:
            one.wait_for_publish(60)
        client.disconnect()
        client.loop_stop()

    def wait_update(self, is_so: Callable[[UpdateHealth], bool], what: str, timeout_s: float = 60.0) -> UpdateHealth:
        """Wait until the installer says so in the daemon's status."""
        status = self.wait(lambda one: one.update is not None and is_so(one.update), what, timeout_s)
        assert status.update is not None
        return status.update

    def state(self) -> State:
        """What is remembered on disk."""
        slots = [self.folder / "state" / "updates" / name for name in ("state.a", "state.b")]
        found = [parse(path.read_bytes(), str(path)) for path in slots if path.exists()]
        return max(found, key=lambda state: state.generation)


def events(subscriber: Subscriber) -> list[dict[str, Any]]:
    """The events that the broker has seen, in order, without doubles."""
    fields = [one.fields for one in subscriber.messages if one.topic.endswith("/event")]
    return list({(one["boot"], one["seq"]): one for one in fields}.values())


def phases(subscriber: Subscriber) -> list[str]:
    """Their phases, with the code where there is one."""
    return [one["phase"] + (f" {one['code']}" if one["code"] else "") for one in events(subscriber)]
