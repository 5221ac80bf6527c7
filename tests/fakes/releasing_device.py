"""A device that counts and releases at high speed: the product's own pipeline and spool, without camera and broker.

Where it escalates, it is vision and the endpoint, too: a crop is there at once, and its answer before the next frame.
Runs inside a test, or as a process of its own that a test can kill; it prints what it publishes, then forgets it:
    python -m tests.fakes.releasing_device FOLDER WALL_S
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from edgeapp.config import (
    CameraConfig,
    Config,
    CountingConfig,
    DeviceConfig,
    EscalationConfig,
    InferenceConfig,
    MqttConfig,
    PathsConfig,
    PrivacyConfig,
    ThermalConfig,
    TrackingConfig,
)
from edgeapp.escalation.outbox import Outbox, Permission
from edgeapp.escalation.policy import Spent, Windows
from edgeapp.model_desk import ModelDesk
from edgeapp.pipeline import Pipeline
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from edgeapp.thermal.sensors import BoardSensors, SensorThread
from edgeapp.types import AGREED, Box, DelegateReport, Detection, ModelReport, Prediction
from edgeapp.vision import protocol
from tests.fakes.clock import FakeClock

MODEL = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))
_TRACKING = TrackingConfig(confirm_frames=1, forget_s=0.1)
_PRIVACY, _COUNTING, _ESCALATION = PrivacyConfig(), CountingConfig(), EscalationConfig()
_FOR_EVER_S = 1e12
_STEP_S = 300.0
_BATCH = 10
_LINK = 0.1  # the share of the steps in which the broker can be reached


class ReleasingDevice:
    """One run of the daemon's pipeline on a clock that the test advances."""

    def __init__(
        self,
        folder: Path,
        wall_s: float,
        *,
        spool: Spool | None = None,
        classes: tuple[str, ...] = MODEL.classes,
        tracking: TrackingConfig = _TRACKING,
        privacy: PrivacyConfig = _PRIVACY,
        counting: CountingConfig = _COUNTING,
        escalation: EscalationConfig = _ESCALATION,
        opinion: Callable[[Detection], str] = lambda _: AGREED,
    ) -> None:
        """`opinion` is what comes of asking about a detection, where `escalation` is enabled."""
        self.clock = FakeClock(wall_s)
        self._opinion, self._shown, self._frames = opinion, dict[int, tuple[Detection, ...]](), 0
        self.spool = spool or Spool(folder / SPOOL_NAME, 100_000)
        config = Config(
            device=DeviceConfig(id="kiosk-7"),
            camera=CameraConfig(kind="video", source="none.avi"),
            inference=InferenceConfig(model_dir="none"),
            mqtt=MqttConfig(host="127.0.0.1"),
            paths=PathsConfig(state_dir=str(folder), runtime_dir=str(folder)),
            tracking=tracking,
            counting=counting,
            privacy=privacy,
            escalation=escalation,
        )
        self._outbox = Outbox(Spent(Windows(0, 0, 0))) if escalation.enabled else None
        desk = ModelDesk(config.inference.model_dir)
        desk.first()
        self.pipeline = Pipeline(
            config,
            boot="0123456789abcdef",
            clock=self.clock,
            sensors=SensorThread(BoardSensors(ThermalConfig())),
            spool=self.spool,
            on_report=lambda: None,
            desk=desk,
            outbox=self._outbox,
        )
        self._orders: list[protocol.CropCommand] = []
        self.pipeline._escalator._order = self._orders.append
        self.pipeline._handle(protocol.Ready(model=replace(MODEL, classes=classes), model_number=1))
        if self._outbox is not None:
            self._outbox.permission = Permission(
                consent_until_s=_FOR_EVER_S, is_metered=False, is_endpoint_up=True, open_hour=round(_FOR_EVER_S)
            )
            self._escalate()

    def advance(self, seconds: float) -> None:
        """What `Pipeline.run` does in each round, without vision."""
        if self._outbox is not None:
            self._escalate()
        self.clock.advance(seconds)
        self.pipeline._advance()
        self.pipeline._reporter.keep()

    def _escalate(self) -> None:
        """Vision gives what was asked for, the endpoint answers, and the pipeline takes the answers."""
        assert self._outbox is not None, "it was configured"
        for order in self._orders:
            if isinstance(order, protocol.AskCrop):
                found = self._shown[order.frame_id][order.index]
                self.pipeline._handle(protocol.Crop(order.frame_id, order.index, self._opinion(found).encode()))
        self._orders.clear()
        while (sealed := self._outbox.take(0)) is not None:
            self._outbox.note(sealed.number, sealed.jpeg.decode())
        self.pipeline._escalator.attend(self.pipeline._census.answer, is_hot=False, is_running=True)

    def see(self, people: int) -> None:
        """A frame with so many people (200 at most), side by side."""
        self.show(Detection(Box(i / 200, 0.4, (i + 1) / 200, 0.8), 0.9, 0) for i in range(people))

    def show(self, found: Iterable[Detection]) -> None:
        """A frame with these detections."""
        now_ns, self._frames = self.clock.monotonic_ns(), self._frames + 1
        detections = tuple(found)
        if self._outbox is not None:
            self._shown[self._frames] = detections
        self.pipeline._handle(Prediction(self._frames, now_ns, now_ns, 5.0, detections))

    def stop(self) -> None:
        """The orderly stop."""
        self.pipeline._close()
        self.pipeline._reporter.keep()
        self.spool.close()

    def publish(self) -> Iterator[bytes]:
        """Some of what waits; it is forgotten once it was taken."""
        for seq, kind, payload in self.spool.next_batch(_BATCH):
            if kind == "counts":
                yield payload
            self.spool.delete(seq)


def main() -> None:
    folder, wall_s = Path(sys.argv[1]), float(sys.argv[2])
    is_asked_to_stop = False

    def ask(*_: object) -> None:
        nonlocal is_asked_to_stop
        is_asked_to_stop = True

    signal.signal(signal.SIGTERM, ask)
    device = ReleasingDevice(folder, wall_s)
    while not is_asked_to_stop:
        device.see(random.randrange(4))
        device.advance(_STEP_S)
        if random.random() < _LINK:
            for payload in device.publish():
                print(payload.decode(), flush=True)
    device.stop()


if __name__ == "__main__":
    main()
