"""Judges the board: its processor, memory, heat, power and clock. Pure."""

from __future__ import annotations

from edgeapp import RELEASE_YEAR
from edgeapp.doctor.report import Judgement
from edgeapp.status import Level
from edgeapp.system.board import Board
from edgeapp.words import counted

NEEDED_MB = 160.0
"""What both processes need beside the system, in MiB: 126 were measured with the demo's detector on x86-64."""
_HOT_C = 80.0
_YEAR_S = 365.2425 * 86400
_UNDER_VOLTAGE, _CLOCK_CAPPED, _THROTTLED, _SOFT_LIMIT = 0, 1, 2, 3
_SINCE = 16  # the same four bits again from here on: has occurred
_BITS = {
    _UNDER_VOLTAGE: "under-voltage",
    _CLOCK_CAPPED: "the clock is capped",
    _THROTTLED: "throttled",
    _SOFT_LIMIT: "at the soft temperature limit",
}


def board(found: Board) -> Judgement:
    """The board and its bits."""
    text = f"{found.name or 'unknown'}, {counted(found.cores, 'core')}, {found.machine or 'unknown processor'}, "
    text += f"{found.os_name or 'unknown system'}, kernel {found.kernel or 'unknown'}, {found.userland_bits} bit"
    if found.userland_bits == 64:
        return Judgement("ok", text)
    kernel = "on a 64-bit kernel" if found.kernel_bits == 64 else "and a 32-bit kernel"
    text += (
        f"\n32-bit programs {kernel}: ai-edge-litert exists for 64 bit only, and the older tflite-runtime computes "
        "int8 models without XNNPACK's kernels"
    )
    return Judgement("warn", text, "install the 64-bit Raspberry Pi OS: a Pi 3, 4, 5 and Zero 2 W can run it")


def memory(found: Board, *, is_running: bool) -> Judgement:
    """Whether both processes fit. While the daemon runs, it has taken its part already."""
    if found.total_mb is None or found.available_mb is None:
        return Judgement("warn", "cannot be read from /proc/meminfo", "free -m")
    text = f"{found.available_mb:.0f} of {found.total_mb:.0f} MiB available"
    if is_running:
        return Judgement("ok", f"{text} while edgeapp runs")
    text = f"{text}, edgeapp needs about {NEEDED_MB:.0f}"
    if found.available_mb >= NEEDED_MB:
        return Judgement("ok", text)
    advice = "stop what else runs, a desktop above all:  sudo systemctl set-default multi-user.target"
    return Judgement("fail" if found.total_mb < NEEDED_MB else "warn", text, advice)


def heat(temp_c: float | None, *, is_expected: bool) -> Judgement:
    """The chip's temperature. `is_expected`: a Raspberry Pi has a sensor, and a configured path should be one."""
    if temp_c is None:
        if not is_expected:
            return Judgement("ok", "this board tells no temperature")
        advice = "cat /sys/class/thermal/thermal_zone*/type\nthen set thermal.sensor_path to the chip's, or to auto"
        return Judgement("warn", "the thermometer cannot be read", advice)
    if temp_c < _HOT_C:
        return Judgement("ok", f"{temp_c:.0f} °C")
    advice = "a heat sink or a fan, shade, or a lower inference.max_fps"
    return Judgement("warn", f"{temp_c:.0f} °C; a Raspberry Pi slows down from {_HOT_C:.0f} °C", advice)


def power(bits: int | None, *, is_expected: bool) -> Judgement:
    """The firmware's `get_throttled` bits [raspberrypi/documentation, vcgencmd]; None where they cannot be read."""
    if bits is None:
        if not is_expected:
            return Judgement("ok", "this board tells nothing about its power supply")
        return Judgement("warn", "the firmware's bits cannot be read", "as root:  vcgencmd get_throttled")
    now = [bit for bit in _BITS if bits >> bit & 1]
    before = [bit for bit in _BITS if bits >> (bit + _SINCE) & 1 and bit not in now]
    said = [f"{_BITS[bit]} now" for bit in now] + [f"{_BITS[bit]}: has occurred" for bit in before]
    advice = []
    if _UNDER_VOLTAGE in (*now, *before):
        advice.append("take the power supply made for this board and a short, thick cable; unplug USB devices to try")
    if {_CLOCK_CAPPED, _THROTTLED} & {*now, *before}:
        advice.append("where it is heat: a heat sink or a fan, shade, or a lower inference.max_fps")
    level: Level = "fail" if _UNDER_VOLTAGE in now else "warn" if advice else "ok"
    return Judgement(level, "; ".join(said) or "neither under-voltage nor throttling", "\n".join(advice))


def clock(now_s: float, *, is_synchronised: bool | None) -> Judgement:
    """The time of day. Reports carry it and their windows are aligned to it; a board without a battery forgets it."""
    year = 1970 + int(now_s / _YEAR_S)
    advice = "sudo timedatectl set-ntp true\nand let UDP port 123 out to a time server"
    if year < RELEASE_YEAR:
        return Judgement("fail", f"shows the year {year}; edgeapp {RELEASE_YEAR} is newer than that", advice)
    if is_synchronised:
        return Judgement("ok", "synchronised")
    if is_synchronised is None:
        return Judgement("warn", "whether it is synchronised cannot be told", "timedatectl")
    return Judgement("warn", "not synchronised: reports will carry a time that drifts", advice)
