"""What the board says of its heat: the chip's temperature, and what the firmware does about heat and voltage.

Owns where these values stand and how long a read may take. Leaves to the governor what they mean, and all counting.
Guarantees that nothing waits for a sensor: each of the three reads has a thread of its own, an answer that does not
come in time is None, and a read that hangs is not asked again until it is back. A board that has nothing gives
samples of None; that is no error.

    temperature    class/thermal/thermal_zone*/temp, found by type     thousandths of a degree, in steps of about 0.5 °C
    under-voltage  class/hwmon/hwmon*/in0_lcrit_alarm of `rpi_volt`    the driver asks the firmware every 2 s
    throttle bits  devices/platform/…:firmware/get_throttled           hex without 0x; what that driver read last
                   or `vcgencmd get_throttled`, where there is no such file

Sources: raspberrypi/linux, drivers/firmware/raspberrypi.c and drivers/hwmon/raspberrypi-hwmon.c; the bits:
raspberrypi/documentation, documentation/asciidoc/computers/os/graphics-utilities.adoc, `get_throttled`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

from edgeapp.config import ThermalConfig
from edgeapp.interfaces import Clock
from edgeapp.system.clock import SystemClock
from edgeapp.types import Sample, ThrottleFlags

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")
_CLOCK = SystemClock()
BitsSource = Literal["auto", "sysfs", "vcgencmd", "off"]

_CHIP_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp")
_VALID_C = (-30.0, 110.0)
_VOLTAGE_MONITOR = "rpi_volt"
_BITS_FILES = (  # from a Pi 0 to a Pi 5 the name of the folder above, and so that of the device, differs
    "soc/soc:firmware/get_throttled",
    "*:firmware/get_throttled",
    "*/*:firmware/get_throttled",
)
_HEX = re.compile("[0-9a-fA-F]{1,8}")
_SYSFS_BYTES = 64
_READ_LIMIT_S = 0.2  # for all three reads of a sample together
_SEARCH_AGAIN_S = 60.0  # a driver may be loaded late; looking through devices/platform is no work for every sample

_VCGENCMD_PERIOD_S = 1.0  # between two runs; in between the last answer stands
_VCGENCMD_LIMIT_S = 2.0
_VCGENCMD_PAUSE_S = 30.0  # after one that hung, failed or talked nonsense
_VCGENCMD_BYTES = 256
_VCGENCMD_ANSWER = re.compile(rb"throttled=0x([0-9a-fA-F]{1,8})\s*")

_STICKY_SHIFT = 16
_MAX_SAMPLES = 64  # 16 s at 4 Hz
_STOP_S = 0.5


def flags_of(bits: int) -> ThrottleFlags:
    """What bits 0 to 3 of `get_throttled` say; for those that "have occurred" give it `bits >> 16`.

    0 under-voltage, 1 Arm frequency capped, 2 currently throttled, 3 soft temperature limit active
    (raspberrypi/documentation, graphics-utilities.adoc). They do not say what is heat and what is a weak supply.
    """
    return ThrottleFlags(
        under_voltage=bool(bits & 1),
        freq_capped=bool(bits & 2),
        throttled=bool(bits & 4),
        soft_limit=bool(bits & 8),
    )


class BoardSensors:
    """Temperature, under-voltage alarm and throttle bits of one board. One thread calls it.

    `thermal.bits` says whom to ask for the throttle bits: auto takes vcgencmd only where sysfs has no file of them; off
    asks nobody. The under-voltage alarm is read in any case. The root folder of sysfs can be replaced.
    """

    def __init__(
        self,
        config: ThermalConfig,
        sysfs: Path = Path("/sys"),
        vcgencmd: str = "vcgencmd",
        *,
        clock: Clock = _CLOCK,
        read_limit_s: float = _READ_LIMIT_S,
    ) -> None:
        self._read_limit_s = read_limit_s
        self._temp = _BoundedRead("temperature", Temperature(config.sensor_path, sysfs).read)
        self._alarm = _BoundedRead("under-voltage alarm", VoltageAlarm(sysfs).read)
        self._bits = _BoundedRead("throttle bits", ThrottleBits(config.bits, sysfs, vcgencmd, clock).read)

    def sample(self) -> Sample:
        """The board now, after at most `read_limit_s` whatever hangs."""
        for read in (self._temp, self._alarm, self._bits):
            read.ask()
        until_s = time.monotonic() + self._read_limit_s
        temp_c, alarm, bits = self._temp.answer(until_s), self._alarm.answer(until_s), self._bits.answer(until_s)
        flags = flags_of(bits) if bits is not None else None
        recent = flags_of(bits >> _STICKY_SHIFT) if bits is not None and alarm is not None else None
        if alarm is not None:
            flags = flags or ThrottleFlags(alarm, None, None, None)
            flags = replace(flags, under_voltage=flags.under_voltage or alarm)
        return Sample(temp_c, flags, recent)

    def close(self) -> None:
        """Let go of the threads. One that hangs in a read stays until that is back, or until the process ends."""
        for read in (self._temp, self._alarm, self._bits):
            read.close()


class SensorThread:
    """Samples the board at a steady rate, so that nobody else ever waits for it.

    Samples wait in a queue of 64 for the one consumer; when it is full the oldest goes. The daemon runs it as one of
    its workers with `run`; who has no workers calls `start` and `stop`, which give it a daemon thread of its own.
    """

    def __init__(self, sensors: BoardSensors, *, sample_hz: float = 4.0) -> None:
        self._sensors, self._period_s = sensors, 1 / sample_hz
        self._samples: deque[Sample] = deque(maxlen=_MAX_SAMPLES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, args=(self._stop, lambda: None), name="sensors", daemon=True)

    def start(self) -> None:
        """Begin to sample on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End, waiting at most 0.5 s for the thread."""
        self._stop.set()
        self._thread.join(_STOP_S)

    def run(self, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Sample until told to stop; beat at every sample."""
        due_s = time.monotonic()
        while not stop.wait(max(0.0, due_s - time.monotonic())):
            self._samples.append(self._sensors.sample())
            beat()
            due_s = max(due_s + self._period_s, time.monotonic())
        self._sensors.close()

    def take(self) -> tuple[Sample, ...]:
        """The samples since the last call, oldest first; () when none came. Never blocks."""
        taken = []
        with contextlib.suppress(IndexError):
            while True:
                taken.append(self._samples.popleft())
        return tuple(taken)


class _BoundedRead(Generic[_T]):
    """A read on a thread of its own: whoever wants the answer waits for it only so long.

    One question at a time: while an answer is overdue nothing more is asked, and when it comes it is too old to be
    told. The journal hears of the first time only: a sensor that comes and goes must not fill it.
    """

    def __init__(self, what: str, read: Callable[[], _T | None]) -> None:
        self._what, self._read = what, read
        self._questions: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[_T | BaseException | None] = queue.SimpleQueue()
        self._is_asked = self._is_overdue = self._is_reported = False
        self._thread = threading.Thread(target=self._work, name=f"sensors: {what}", daemon=True)

    def ask(self) -> None:
        """Begin a read, unless the last one is not back yet."""
        if self._thread.ident is None:
            self._thread.start()
        if self._is_overdue:
            with contextlib.suppress(queue.Empty):
                self._answers.get_nowait()
                self._is_asked = self._is_overdue = False
                _LOGGER.debug("sensors: the %s is back", self._what)
        if not self._is_asked:
            self._questions.put(True)
            self._is_asked = True

    def answer(self, until_s: float) -> _T | None:
        """The answer, or None when there is none until the monotonic time `until_s`, or none since long."""
        if self._is_overdue:
            return None
        try:
            answer = self._answers.get(timeout=max(0.0, until_s - time.monotonic()))
        except queue.Empty:
            self._is_overdue = True
            level = logging.DEBUG if self._is_reported else logging.WARNING
            _LOGGER.log(level, "sensors: the %s does not answer in time", self._what)
            self._is_reported = True
            return None
        self._is_asked = False
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self._questions.put(False)

    def _work(self) -> None:
        while self._questions.get():
            try:
                self._answers.put(self._read())
            except BaseException as error:  # not swallowed: it is raised where the answer is awaited
                self._answers.put(error)


class _NamedDevice:
    """A device of one of sysfs' classes, found by the name it gives itself: its number changes from boot to boot."""

    def __init__(self, folder: Path, name_file: str, names: tuple[str, ...]) -> None:
        """`names`: the best first."""
        self._folder, self._name_file, self._names = folder, name_file, names
        self._device: Path | None = None

    def read(self, file: str) -> str | None:
        """What a file of the device says; None without device or answer. A device that moved is found again."""
        if self._device is None or _read(self._device / self._name_file) not in self._names:
            self._device = self._find()
        return _read(self._device / file) if self._device else None

    def _find(self) -> Path | None:
        devices: dict[str | None, Path] = {}
        with contextlib.suppress(OSError):
            for device in sorted(self._folder.iterdir()):
                devices.setdefault(_read(device / self._name_file), device)
        return next((devices[name] for name in self._names if name in devices), None)


class Temperature:
    """The chip's thermal zone, or the file that the configuration names."""

    def __init__(self, sensor_path: str, sysfs: Path) -> None:
        self._path = None if sensor_path == "auto" else Path(sensor_path)
        self._zone = _NamedDevice(sysfs / "class" / "thermal", "type", _CHIP_ZONES)

    def read(self) -> float | None:
        """Degrees Celsius. 0 is what a dead sensor reads, so it is none."""
        text = _read(self._path) if self._path else self._zone.read("temp")
        try:
            value_c = int(text or "") / 1000
        except ValueError:
            return None
        return value_c if _VALID_C[0] <= value_c <= _VALID_C[1] and value_c != 0 else None


def zones(sysfs: Path) -> dict[str, str]:
    """The temperature files of all thermal zones that tell a valid temperature, and what each says that it is."""
    found = {}
    for zone in sorted((sysfs / "class" / "thermal").glob("thermal_zone*")):
        file = zone / "temp"
        if Temperature(str(file), sysfs).read() is not None:
            found[str(file)] = _read(zone / "type") or "?"
    return found


class VoltageAlarm:
    """The under-voltage alarm of the kernel's Raspberry Pi voltage monitor."""

    def __init__(self, sysfs: Path) -> None:
        self._monitor = _NamedDevice(sysfs / "class" / "hwmon", "name", (_VOLTAGE_MONITOR,))

    def read(self) -> bool | None:
        return {"0": False, "1": True}.get(self._monitor.read("in0_lcrit_alarm") or "")


class ThrottleBits:
    """The bits of `get_throttled`, from sysfs or from vcgencmd."""

    def __init__(self, source: BitsSource, sysfs: Path, vcgencmd: str, clock: Clock) -> None:
        self._source, self._sysfs, self._clock = source, sysfs, clock
        self._file: Path | None = None
        self._search_at_s = -1.0
        self._vcgencmd = _Vcgencmd(vcgencmd)
        self._run_at_s = -1.0
        self._last: int | None = None

    def read(self) -> int | None:
        now_s = self._clock.monotonic_ns() / 1e9
        if self._source in ("auto", "sysfs"):
            if self._file is None and now_s >= self._search_at_s:
                self._file, self._search_at_s = self._find(), now_s + _SEARCH_AGAIN_S
            if self._file is not None:
                return self._read_file(self._file)
        if self._source in ("auto", "vcgencmd"):
            if now_s >= self._run_at_s:
                self._last = self._vcgencmd.get_throttled()
                pause_s = _VCGENCMD_PERIOD_S if self._last is not None else _VCGENCMD_PAUSE_S
                self._run_at_s = self._clock.monotonic_ns() / 1e9 + pause_s
            return self._last
        return None

    def _read_file(self, file: Path) -> int | None:
        text = _read(file)
        if text is None and not file.exists():
            self._file, self._search_at_s = None, -1.0
        return int(text, 16) if text and _HEX.fullmatch(text) else None

    def _find(self) -> Path | None:
        platform = self._sysfs / "devices" / "platform"
        return next((file for pattern in _BITS_FILES for file in sorted(platform.glob(pattern))), None)


class _Vcgencmd:
    """Raspberry Pi's own tool, run as a child that is killed when it does not answer."""

    def __init__(self, command: str) -> None:
        self._command = command

    def get_throttled(self) -> int | None:
        """The bits; None when the tool is missing, hangs, fails or talks nonsense."""
        try:
            child = subprocess.Popen(
                [self._command, "get_throttled"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", os.defpath)},  # nothing of systemd's, such as its notify socket
                start_new_session=True,  # so that what it started is killed with it
            )
        except OSError as error:
            _LOGGER.debug("%s cannot be run: %s", self._command, error)
            return None
        with child:  # its end waits for the child: should even a kill not end it, no second one is started
            assert child.stdout is not None
            try:
                text = _read_to_end(child.stdout.fileno(), _VCGENCMD_BYTES, time.monotonic() + _VCGENCMD_LIMIT_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
        found = _VCGENCMD_ANSWER.fullmatch(text)
        return int(found[1], 16) if found else None


def _read_to_end(descriptor: int, max_bytes: int, until_s: float) -> bytes:
    """All that comes before the end, the monotonic time `until_s`, or more than `max_bytes`."""
    text = b""
    while len(text) <= max_bytes and select.select([descriptor], [], [], max(0.0, until_s - time.monotonic()))[0]:
        part = os.read(descriptor, max_bytes)
        if not part:
            break
        text += part
    return text


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(_SYSFS_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return None
