"""What counting, privacy, spool and MQTT cost a process that has the rest of control: memory and processor time.

Five people walk about before the camera, at ten frames a second. With each report a quarter of an hour passes, so that
its windows are noised and told.

    python -m tests.fakes.message_cost FOLDER PORT CA_FILE CERT_FILE KEY_FILE SECONDS

Run as a process of its own, since what was imported once cannot be measured again. It prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# What control needs without them.
from edgeapp.config import CameraConfig, Config, DeviceConfig, InferenceConfig, MqttConfig, TlsConfig
from edgeapp.system.clock import SystemClock
from edgeapp.telemetry.message import telemetry_message
from edgeapp.telemetry.window import WindowKeeper
from edgeapp.types import Box, DelegateReport, Detection, ModelReport, Prediction
from tests.fakes.bench.processes import pss_mb

if TYPE_CHECKING:
    from edgeapp.telemetry.release import Release
    from edgeapp.telemetry.spool import Spool

_NEEDED_ANYWAY = (SystemClock, telemetry_message, WindowKeeper)
_MODEL = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))
_FPS = 10
_PEOPLE = 5
_QUARTER_S = 900.0
REPORT_EVERY_S = 5.0  # the shortest window that the configuration allows


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """`pss_mb`: proportional memory that came on top, MiB. `cpu_pct`: of one core, with a report every 5 seconds."""

    pss_mb: float
    cpu_pct: float
    seconds: float
    frames: int


def main() -> None:
    folder, port, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[6])
    tls = TlsConfig(enabled=True, ca_file=sys.argv[3], cert_file=sys.argv[4], key_file=sys.argv[5])
    before_mb = _pss_mb()
    from tests.fakes.sending_device import SendingDevice

    mqtt = MqttConfig(host="127.0.0.1", port=port, tls=tls)
    with SendingDevice(folder, mqtt) as device:
        site = _Site(mqtt, device.spool)
        while not device.health.is_connected:
            time.sleep(0.05)
        began_s, used_s, frames = time.monotonic(), time.process_time(), 0
        while time.monotonic() - began_s < seconds:
            site.see(frames)
            frames += 1
            if frames % round(_FPS * REPORT_EVERY_S) == 0:
                site.end_quarter()
                device.report()
            time.sleep(max(0.0, began_s + frames / _FPS - time.monotonic()))
        took_s, used_s = time.monotonic() - began_s, time.process_time() - used_s
        cost = Cost(
            pss_mb=round(_pss_mb() - before_mb, 1),
            cpu_pct=round(100 * used_s / took_s, 3),
            seconds=round(took_s, 1),
            frames=frames,
        )
    print(json.dumps(asdict(cost)))


class _Site:
    """A census whose releases go into the spool, as in the pipeline."""

    def __init__(self, mqtt: MqttConfig, spool: Spool) -> None:
        from edgeapp.census import Census

        self._config = Config(
            device=DeviceConfig(id="kiosk-7"),
            camera=CameraConfig(kind="video", source="none.avi"),
            inference=InferenceConfig(model_dir="none"),
            mqtt=mqtt,
        )
        self._spool, self._wall_s = spool, time.time()
        self._census = Census(self._config, monotonic_ns=time.monotonic_ns())
        self._census.begin_with(("person",), time.monotonic_ns())

    def see(self, frame: int) -> None:
        steps = [(frame / (40 + 10 * person) + person / _PEOPLE) % 0.9 for person in range(_PEOPLE)]
        found = tuple(Detection(Box(x, y / 6, x + 0.1, y / 6 + 0.15), 0.8, 0) for y, x in enumerate(steps))
        now_ns = time.monotonic_ns()
        self._tell()
        self._census.follow(Prediction(frame, now_ns, now_ns, 20.0, found))

    def end_quarter(self) -> None:
        self._wall_s += _QUARTER_S
        self._tell()

    def _tell(self) -> None:
        from edgeapp.telemetry.counts_message import counts_message

        for release in self._census.advance(self._wall_s, time.monotonic_ns(), is_synchronised=True):

            def make(seq: int, lost: int, release: Release = release) -> bytes:
                return counts_message(
                    release,
                    self._config.privacy,
                    device="kiosk-7",
                    boot="0" * 16,
                    seq=seq,
                    lost=lost,
                    app_version="0.1.0",
                    model=_MODEL,
                    drift=None,
                )

            self._spool.put_release(make, "counts", release.level.name, release.index)


def _pss_mb() -> float:
    gc.collect()
    return pss_mb([os.getpid()])


if __name__ == "__main__":
    main()
