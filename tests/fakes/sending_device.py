"""A device without a camera: the product's own spool, messages and publisher, fed with made-up windows.

Runs inside a test, or as a process of its own that a test can kill:
    python -m tests.fakes.sending_device FOLDER PORT BOOT REPORTS
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from edgeapp.config import MqttConfig
from edgeapp.messaging.announcements import ANNOUNCED_NAME, Announcements
from edgeapp.messaging.mqtt import BrokerHealth, Publisher
from edgeapp.messaging.topics import Topics
from edgeapp.system.clock import SystemClock
from edgeapp.telemetry.message import HeatState, SystemState, status_message, telemetry_message
from edgeapp.telemetry.spool import SPOOL_NAME, Spool
from edgeapp.telemetry.window import WindowKeeper
from edgeapp.types import Prediction

DEVICE = "kiosk-7"
VERSION = "0.1.0"
_HEAT = HeatState(
    state="nominal",
    source="sensor",
    limited_by="demand",
    rate_fps=10.0,
    under_voltage=False,
    seconds_throttled=0.0,
    seconds_blind=0.0,
    rate_changes=0,
)
_SYSTEM = SystemState(
    temp_c=51.0,
    throttled=False,
    heat=_HEAT,
    rss_mb=120.0,
    uptime_s=60.0,
    fps_wanted=10.0,
    vision_restarts={},
    camera=None,
)


class SendingDevice:
    """Use as a context: the publisher runs inside of it, and is stopped in order at its end."""

    def __init__(
        self,
        folder: Path,
        config: MqttConfig,
        *,
        boot: str = "0" * 16,
        acknowledge_s: float = 20.0,
        spool: Spool | None = None,
        announced: Mapping[str, bytes] | None = None,
    ) -> None:
        self._boot = boot
        self.spool = spool or Spool(folder / SPOOL_NAME, 100_000)
        self.stop = threading.Event()
        self.beats = 0
        self.publisher = Publisher(
            config,
            Topics(tenant="default", device=DEVICE),
            self.spool,
            SystemClock(),
            online=status_message("online", device=DEVICE, boot=boot, app_version=VERSION),
            offline=status_message("offline", device=DEVICE, boot=boot, app_version=VERSION),
            announcements=Announcements(folder / ANNOUNCED_NAME, announced or {}),
            acknowledge_s=acknowledge_s,
        )
        self.thread = threading.Thread(target=self.publisher.run, args=(self.stop, self._beat), daemon=True)

    def __enter__(self) -> SendingDevice:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(10)
        self.spool.close()

    @property
    def health(self) -> BrokerHealth:
        return self.publisher.health()

    def report(self, times: int = 1) -> set[tuple[str, str, int]]:
        """Put reports into the spool; their identities."""
        seqs = {self.spool.put(self._make) for _ in range(times)}
        self.publisher.wake()
        return {(DEVICE, self._boot, seq) for seq in seqs}

    def _make(self, seq: int, lost: int) -> bytes:
        keeper = WindowKeeper(60, wall_s=1.7e9 + 60 * seq, monotonic_ns=0)
        keeper.add_prediction(Prediction(frame_id=seq, captured_ns=0, predicted_ns=1, invoke_ms=20.0, detections=()))
        return telemetry_message(
            keeper.close_now(60_000_000_000),
            device=DEVICE,
            boot=self._boot,
            seq=seq,
            lost=lost,
            app_version=VERSION,
            model=None,
            system=_SYSTEM,
        )

    def _beat(self) -> None:
        self.beats += 1


def main() -> None:
    folder, port, boot, reports = sys.argv[1:]
    config = MqttConfig(host="127.0.0.1", port=int(port), reconnect_max_s=1.0)
    with SendingDevice(Path(folder), config, boot=boot) as device:
        for _ in range(int(reports)):
            device.report()
        print("all reports are in the spool", flush=True)
        while device.spool.waiting():
            time.sleep(0.01)


if __name__ == "__main__":
    main()
