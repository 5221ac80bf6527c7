"""Tells systemd how the daemon does (sd_notify), where systemd runs it; elsewhere every call does nothing.

Source of the protocol: the manual page sd_notify(3). A few lines of our own, because systemd-python is published as
source only and would need a compiler on the device.
"""

from __future__ import annotations

import logging
import os
import socket
import time

_LOGGER = logging.getLogger(__name__)


def notify(*assignments: str) -> bool:
    """Send assignments such as "READY=1". True when systemd was there to hear them."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.sendto("\n".join(assignments).encode(), address)
    except OSError as error:
        _LOGGER.warning("systemd's notify socket %s does not answer: %s", address.replace("\0", "@"), error)
        return False
    return True


def notify_reloading() -> bool:
    """Say that a reload begins; systemd wants the monotonic time with it."""
    return notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_period_s() -> float | None:
    """How often systemd wants to hear from us: half of WatchdogSec, or None where no watchdog is set."""
    raw, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not raw.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(raw) / 2e6
