"""A device that reports without pause, as a process of its own that a torture may kill at any moment.

    python -m tests.fakes.torture_device FOLDER HOST PORT BOOT REPORTS_PER_S

Each report that its spool has made durable is written to FOLDER/kept as "boot seq". Once FOLDER/enough is there it
makes no more, delivers the rest and ends.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from edgeapp.config import MqttConfig
from tests.fakes.sending_device import SendingDevice

KEPT, ENOUGH = "kept", "enough"
_ACKNOWLEDGE_S = 1.0  # a torture has not the patience of a device


def main() -> None:
    folder, host, port, boot, per_s = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
    config = MqttConfig(host=host, port=port, keepalive_s=5, reconnect_max_s=1.0)
    with (
        SendingDevice(folder, config, boot=boot, acknowledge_s=_ACKNOWLEDGE_S) as device,
        (folder / KEPT).open("ab", buffering=0) as kept,
    ):
        while not (folder / ENOUGH).exists():
            for _, _, seq in device.report():
                kept.write(f"{boot} {seq}\n".encode())
            time.sleep(1 / per_s)
        while device.spool.waiting():
            time.sleep(0.02)


if __name__ == "__main__":
    main()
