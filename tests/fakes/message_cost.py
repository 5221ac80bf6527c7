"""What spool and MQTT cost a process that has the rest of control already: memory and processor time.

    python -m tests.fakes.message_cost FOLDER PORT CA_FILE CERT_FILE KEY_FILE SECONDS

Run as a process of its own, since what was imported once cannot be measured again. It prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

# What control needs without them.
from edgeapp.config import MqttConfig, TlsConfig
from edgeapp.system.clock import SystemClock
from edgeapp.telemetry.message import telemetry_message
from edgeapp.telemetry.window import WindowKeeper

_NEEDED_ANYWAY = (SystemClock, telemetry_message, WindowKeeper)
REPORT_EVERY_S = 5.0  # the shortest window that the configuration allows


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """`pss_mb`: proportional memory that came on top, MiB. `cpu_pct`: of one core, with a report every 5 seconds."""

    pss_mb: float
    cpu_pct: float
    seconds: float
    reports: int


def main() -> None:
    folder, port, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[6])
    tls = TlsConfig(enabled=True, ca_file=sys.argv[3], cert_file=sys.argv[4], key_file=sys.argv[5])
    before_mb = _pss_mb()
    from tests.fakes.sending_device import SendingDevice

    with SendingDevice(folder, MqttConfig(host="127.0.0.1", port=port, tls=tls)) as device:
        while not device.health.is_connected:
            time.sleep(0.05)
        began_s, used_s, reports = time.monotonic(), time.process_time(), 0
        while time.monotonic() - began_s < seconds:
            device.report()
            reports += 1
            time.sleep(REPORT_EVERY_S)
        took_s, used_s = time.monotonic() - began_s, time.process_time() - used_s
        cost = Cost(
            pss_mb=round(_pss_mb() - before_mb, 1),
            cpu_pct=round(100 * used_s / took_s, 3),
            seconds=round(took_s, 1),
            reports=reports,
        )
    print(json.dumps(asdict(cost)))


def _pss_mb() -> float:
    gc.collect()
    [line] = [line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
