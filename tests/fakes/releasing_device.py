"""A device that counts and releases at high speed: the product's own pipeline and spool, without camera and broker.

Runs inside a test, or as a process of its own that a test can kill; it prints what it publishes, then forgets it:
    python -m tests.fakes.releasing_device FOLDER WALL_S
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from edgeapp.config import (
    CameraConfig,
    Config,
    CountingConfig,
    DeviceConfig,
    InferenceConfig,
    MqttConfig,
    PathsConfig,
    PrivacyConfig,
    ThermalConfig,
    TrackingConfig,
)
from edgeapp.model_desk import ModelDesk
from edgeapp.pipeline import Pipeline
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from edgeapp.thermal.sensors import BoardSensors, SensorThread
from edgeapp.types import Box, DelegateReport, Detection, ModelReport, Prediction
from edgeapp.vision import protocol
from tests.fakes.clock import FakeClock

MODEL = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))
_TRACKING = TrackingConfig(confirm_frames=1, forget_s=0.1)
_PRIVACY, _COUNTING = PrivacyConfig(), CountingConfig()
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
    ) -> None:
        self.clock = FakeClock(wall_s)
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
        )
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
        )
        self.pipeline._handle(protocol.Ready(model=replace(MODEL, classes=classes), model_number=1))

    def advance(self, seconds: float) -> None:
        """What `Pipeline.run` does in each round, without vision."""
        self.clock.advance(seconds)
        self.pipeline._advance()
        self.pipeline._reporter.keep()

    def see(self, people: int) -> None:
        """A frame with so many people (200 at most), side by side."""
        self.show(Detection(Box(i / 200, 0.4, (i + 1) / 200, 0.8), 0.9, 0) for i in range(people))

    def show(self, found: Iterable[Detection]) -> None:
        """A frame with these detections."""
        now_ns = self.clock.monotonic_ns()
        self.pipeline._handle(Prediction(1, now_ns, now_ns, 5.0, tuple(found)))

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
