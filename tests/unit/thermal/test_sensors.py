"""The board's sensors are found by their names, and nothing ever waits for one that hangs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import ThermalConfig
from edgeapp.thermal.sensors import BitsSource, BoardSensors, SensorThread, flags_of
from edgeapp.types import Sample, ThrottleFlags

_NOTHING = ThrottleFlags(False, False, False, False)
_PATIENCE_S = 20.0
_READ_LIMIT_S = 1.0  # longer than in the product, so that a busy machine makes no sensor hang


class _Clock:
    """A clock that stands until it is advanced."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wall_s(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return round(self.now_s * 1e9)


class _Board:
    """A /sys tree in a temporary folder, a vcgencmd, and what reads both."""

    def __init__(self, root: Path) -> None:
        self.root, self.clock = root, _Clock()
        self.sysfs, self.vcgencmd = root / "sys", root / "vcgencmd"
        self.runs = root / "runs"
        self._opened: list[BoardSensors] = []

    def zone(self, index: int, kind: str, temp: str) -> Path:
        return self._device("thermal", f"thermal_zone{index}", "type", kind, "temp", temp)

    def monitor(self, index: int, name: str, alarm: str) -> Path:
        return self._device("hwmon", f"hwmon{index}", "name", name, "in0_lcrit_alarm", alarm)

    def bits_file(self, folder: str, bits: str) -> Path:
        path = self.sysfs / "devices" / "platform" / folder / "get_throttled"
        path.parent.mkdir(parents=True)
        path.write_text(bits + "\n")
        return path

    def script(self, body: str) -> None:
        """Put this in vcgencmd's place; each run leaves a line with its process id."""
        fresh = self.root / "vcgencmd.new"
        fresh.write_text(f'#!/bin/sh\n[ "$*" = get_throttled ] || exit 9\necho $$ >> {self.runs}\n{body}\n')
        fresh.chmod(0o755)
        fresh.rename(self.vcgencmd)

    def run_pids(self) -> list[int]:
        return [int(line) for line in self.runs.read_text().split()] if self.runs.exists() else []

    def sensors(self, *, sensor_path: str = "auto", bits: BitsSource = "auto") -> BoardSensors:
        config = ThermalConfig(sensor_path=sensor_path, bits=bits)
        sensors = BoardSensors(config, self.sysfs, str(self.vcgencmd), clock=self.clock, read_limit_s=_READ_LIMIT_S)
        self._opened.append(sensors)
        return sensors

    def close(self) -> None:
        for sensors in self._opened:
            sensors.close()

    def _device(self, kind: str, device: str, name_file: str, name: str, value_file: str, value: str) -> Path:
        folder = self.sysfs / "class" / kind / device
        folder.mkdir(parents=True)
        (folder / name_file).write_text(name + "\n")
        (folder / value_file).write_text(value + "\n")
        return folder / value_file


@pytest.fixture
def board(tmp_path: Path) -> Iterator[_Board]:
    board = _Board(tmp_path)
    yield board
    board.close()


def _hang(path: Path) -> None:
    """A FIFO that nobody writes to, in the file's place: whoever opens it to read hangs in the kernel."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _answer(path: Path, text: str) -> None:
    """Let go of the reader that hangs in the FIFO, and put a file with this text in its place."""
    fresh = path.with_name("fresh")
    fresh.write_text(text + "\n")
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(descriptor, b"11000\n")  # what is told too late
    fresh.rename(path)
    os.close(descriptor)


def _await(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, "waited in vain"
        time.sleep(0.01)


def _sampled(sensors: BoardSensors, is_enough: Callable[[Sample], bool]) -> Sample:
    """The first sample that is enough. A child process may need longer than one sample waits for it."""
    samples: list[Sample] = []

    def look() -> bool:
        samples.append(sensors.sample())
        return is_enough(samples[-1])

    _await(look)
    return samples[-1]


def _taken(thread: SensorThread, count: int) -> list[Sample]:
    """At least so many samples of the thread."""
    taken: list[Sample] = []

    def take() -> bool:
        taken.extend(thread.take())
        return len(taken) >= count

    _await(take)
    return taken


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


# What the bits mean


@pytest.mark.parametrize(
    ("bits", "flags"),
    [
        (0x0, _NOTHING),
        (0x1, ThrottleFlags(True, False, False, False)),
        (0x2, ThrottleFlags(False, True, False, False)),
        (0x4, ThrottleFlags(False, False, True, False)),
        (0x8, ThrottleFlags(False, False, False, True)),
        (0x50005, ThrottleFlags(True, False, True, False)),
        (0xF0000, _NOTHING),
    ],
)
def test_the_low_bits_say_what_holds_now(bits: int, flags: ThrottleFlags) -> None:
    assert flags_of(bits) == flags


@given(st.integers(0, 15), st.integers(0, 15))
def test_what_has_occurred_never_shows_as_now(now: int, occurred: int) -> None:
    assert flags_of(occurred << 16 | now) == flags_of(now)


# The temperature


def test_the_zone_of_the_chip_is_found_by_its_type(board: _Board) -> None:
    board.zone(0, "nvme", "31000")
    board.zone(1, "cpu-thermal", "54200")
    assert board.sensors().sample().temp_c == 54.2


def test_a_configured_path_wins(board: _Board) -> None:
    board.zone(0, "cpu-thermal", "54200")
    path = board.zone(1, "nvme", "31000")
    assert board.sensors(sensor_path=str(path)).sample().temp_c == 31.0


@pytest.mark.parametrize("raw", ["0", "-40000", "200000", "", "hot", "\xff"])
def test_an_impossible_reading_is_none(board: _Board, raw: str) -> None:
    board.zone(0, "cpu-thermal", raw)
    assert board.sensors().sample().temp_c is None


def test_a_file_without_end_is_no_reading(board: _Board) -> None:
    assert board.sensors(sensor_path="/dev/zero").sample().temp_c is None


def test_a_board_that_has_nothing_gives_samples_of_none(board: _Board) -> None:
    assert board.sensors().sample() == Sample(None, None, None)


def test_zones_that_change_their_order_are_told_apart(board: _Board) -> None:
    first, second = board.zone(0, "cpu-thermal", "54200"), board.zone(1, "nvme", "31000")
    sensors = board.sensors()
    assert sensors.sample().temp_c == 54.2
    (first.parent / "type").write_text("nvme\n")
    (second.parent / "type").write_text("cpu-thermal\n")
    assert sensors.sample().temp_c == 31.0


def test_a_sensor_that_is_removed_is_none_and_is_found_when_it_is_back(board: _Board) -> None:
    path = board.zone(0, "cpu-thermal", "54200")
    sensors = board.sensors()
    assert sensors.sample().temp_c == 54.2
    path.parent.rename(board.root / "away")
    assert sensors.sample().temp_c is None
    board.zone(3, "cpu-thermal", "61000")
    assert sensors.sample().temp_c == 61.0


# Under-voltage and the bits in sysfs


@pytest.mark.parametrize("folder", ["soc/soc:firmware", "soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_bits_are_hexadecimal_without_a_prefix_wherever_the_firmware_device_stands(
    board: _Board, folder: str
) -> None:
    board.bits_file(folder, "c000e")
    assert board.sensors().sample().flags == ThrottleFlags(False, True, True, True)


@pytest.mark.parametrize("text", ["", "throttled", "-1", "1_0", "123456789"])
def test_bits_that_are_none_are_none(board: _Board, text: str) -> None:
    board.bits_file("soc/soc:firmware", text)
    assert board.sensors().sample().flags is None


def test_without_bits_only_under_voltage_is_known(board: _Board) -> None:
    board.monitor(0, "cpu_thermal", "0")
    alarm = board.monitor(1, "rpi_volt", "1")
    sensors = board.sensors()
    assert sensors.sample().flags == ThrottleFlags(True, None, None, None)
    alarm.write_text("0\n")
    assert sensors.sample().flags == ThrottleFlags(False, None, None, None)


def test_the_alarm_of_another_device_is_no_under_voltage(board: _Board) -> None:
    board.monitor(0, "ups", "1")
    assert board.sensors().sample().flags is None


def test_the_alarm_tells_of_a_dip_that_the_bits_of_now_missed(board: _Board) -> None:
    board.monitor(0, "rpi_volt", "1")
    board.bits_file("soc/soc:firmware", "50000")
    sample = board.sensors().sample()
    assert sample.flags == ThrottleFlags(True, False, False, False)
    assert sample.recent == ThrottleFlags(True, False, True, False)


def test_what_has_occurred_is_not_told_where_it_means_since_boot(board: _Board) -> None:
    board.bits_file("soc/soc:firmware", "50000")
    assert board.sensors().sample() == Sample(None, _NOTHING, None)


def test_a_firmware_driver_that_is_loaded_late_is_found(board: _Board) -> None:
    sensors = board.sensors()
    assert sensors.sample().flags is None
    board.bits_file("soc/soc:firmware", "2")
    board.clock.now_s += 61
    assert sensors.sample().flags == flags_of(2)


def test_bits_that_are_switched_off_are_asked_of_nobody(board: _Board) -> None:
    board.bits_file("soc/soc:firmware", "f")
    board.script("echo throttled=0xf")
    assert board.sensors(bits="off").sample().flags is None
    assert board.run_pids() == []


# vcgencmd


def test_vcgencmd_is_asked_where_sysfs_has_no_bits(board: _Board) -> None:
    board.script("echo throttled=0x50005")
    assert _sampled(board.sensors(), lambda sample: sample.flags is not None).flags == flags_of(5)


def test_vcgencmd_is_not_run_where_sysfs_has_the_bits(board: _Board) -> None:
    board.bits_file("soc/soc:firmware", "2")
    board.script("echo throttled=0x0")
    assert board.sensors().sample().flags == flags_of(2)
    assert board.run_pids() == []


def test_vcgencmd_is_run_once_a_second_however_often_the_board_is_sampled(board: _Board) -> None:
    board.script("echo throttled=0x1")
    sensors = board.sensors(bits="vcgencmd")
    _sampled(sensors, lambda sample: sample.flags == flags_of(1))
    board.script("echo throttled=0x2")
    assert [sensors.sample().flags for _ in range(20)] == [flags_of(1)] * 20
    board.clock.now_s += 1.5
    _sampled(sensors, lambda sample: sample.flags == flags_of(2))
    assert len(board.run_pids()) == 2


@pytest.mark.parametrize(
    "body",
    [
        "echo 'VCHI initialization failed'",
        "exit 1",
        "echo throttled=0x5; echo and more",
        "echo throttled=5",
        "yes",
        r"printf '\000\377'",
        "cat /dev/zero",
    ],
)
def test_a_vcgencmd_that_talks_nonsense_gives_no_flags_and_is_tried_again_later(board: _Board, body: str) -> None:
    board.zone(0, "cpu-thermal", "54200")
    board.script(body)
    sensors = board.sensors()
    sensors.sample()
    _await(lambda: len(board.run_pids()) == 1 and _is_gone(board.run_pids()[0]))
    for _ in range(5):
        assert sensors.sample() == Sample(54.2, None)
    board.script("echo throttled=0x4")
    assert sensors.sample().flags is None

    def later(sample: Sample) -> bool:
        board.clock.now_s += 31
        return sample.flags is not None

    assert _sampled(sensors, later).flags == flags_of(4)


def test_a_vcgencmd_that_hangs_holds_nothing_is_never_run_twice_and_is_killed_with_its_children(board: _Board) -> None:
    board.zone(0, "cpu-thermal", "54200")
    board.script(f"sleep 1000 &\necho $! >> {board.runs}\nwait")
    sensors = board.sensors()
    began_s = time.monotonic()
    _await(lambda: sensors.sample() == Sample(54.2, None) and len(board.run_pids()) == 2)
    assert not any(_is_gone(pid) for pid in board.run_pids())
    assert [sensors.sample() for _ in range(50)] == [Sample(54.2, None)] * 50
    _await(lambda: all(_is_gone(pid) for pid in board.run_pids()))
    assert time.monotonic() - began_s < _PATIENCE_S
    board.clock.now_s += 29
    assert sensors.sample() == Sample(54.2, None)
    assert len(board.run_pids()) == 2


def test_a_vcgencmd_that_is_missing_is_no_error(board: _Board) -> None:
    board.zone(0, "cpu-thermal", "54200")
    assert board.sensors(bits="vcgencmd").sample() == Sample(54.2, None)


# Reads that hang


def test_a_temperature_that_hangs_does_not_hold_the_bits_and_is_read_again_when_it_is_back(
    board: _Board, caplog: pytest.LogCaptureFixture
) -> None:
    path = board.zone(0, "cpu-thermal", "54200")
    board.bits_file("soc/soc:firmware", "4")
    sensors = board.sensors()
    assert sensors.sample().temp_c == 54.2
    _hang(path)
    with caplog.at_level(logging.WARNING):
        assert [sensors.sample() for _ in range(200)] == [Sample(None, flags_of(4))] * 200
    assert [record.message for record in caplog.records] == ["sensors: the temperature does not answer in time"]
    _answer(path, "60000")
    assert _sampled(sensors, lambda sample: sample.temp_c is not None).temp_c == 60.0
    path.write_text("61000\n")
    assert sensors.sample().temp_c == 61.0  # nothing that was asked meanwhile is answered late


def test_only_the_first_sample_waits_for_a_read_that_hangs(board: _Board) -> None:
    _hang(board.zone(0, "cpu-thermal", "54200"))
    sensors = board.sensors()
    sensors.sample()
    began_s = time.monotonic()
    for _ in range(500):
        sensors.sample()
    assert time.monotonic() - began_s < _PATIENCE_S  # waiting each time would take 500 s


@pytest.mark.parametrize("what", ["bits", "alarm"])
def test_firmware_that_hangs_does_not_hold_the_temperature(board: _Board, what: str) -> None:
    board.zone(0, "cpu-thermal", "54200")
    alarm, bits = board.monitor(0, "rpi_volt", "0"), board.bits_file("soc/soc:firmware", "0")
    _hang(bits if what == "bits" else alarm)
    flags = ThrottleFlags(False, None, None, None) if what == "bits" else _NOTHING
    assert board.sensors().sample() == Sample(54.2, flags)


def test_an_unexpected_error_in_a_read_is_not_swallowed(board: _Board, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path, _mode: str) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(RuntimeError, match="broken"):
        board.sensors(sensor_path="/anything", bits="off").sample()


# The thread


@pytest.fixture
def start(board: _Board) -> Iterator[Callable[..., SensorThread]]:
    threads: list[SensorThread] = []

    def start(sample_hz: float = 100.0) -> SensorThread:
        threads.append(SensorThread(board.sensors(), sample_hz=sample_hz))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.stop()


def test_every_sample_is_taken_once(board: _Board, start: Callable[..., SensorThread]) -> None:
    board.zone(0, "cpu-thermal", "54200")
    thread = start()
    taken = _taken(thread, 5)
    assert set(taken) == {Sample(54.2, None)}
    thread.stop()
    thread.take()
    assert thread.take() == ()


def test_a_consumer_that_stays_away_finds_the_newest_samples_in_bounded_memory(board: _Board) -> None:
    path = board.zone(0, "cpu-thermal", "40000")
    stop, beats = threading.Event(), threading.Semaphore(0)
    thread = SensorThread(board.sensors(), sample_hz=1000)
    worker = threading.Thread(target=thread.run, args=(stop, beats.release), daemon=True)
    worker.start()
    for number in range(200):
        assert beats.acquire(timeout=_PATIENCE_S)
        if number == 50:
            path.write_text("50000\n")
    stop.set()
    worker.join(_PATIENCE_S)
    assert thread.take() == (Sample(50.0, None),) * 64


def test_sampling_goes_on_and_stops_at_once_while_every_sensor_hangs(
    board: _Board, start: Callable[..., SensorThread]
) -> None:
    _hang(board.zone(0, "cpu-thermal", "54200"))
    _hang(board.monitor(0, "rpi_volt", "0"))
    _hang(board.bits_file("soc/soc:firmware", "0"))
    thread = start()
    taken = _taken(thread, 5)
    assert set(taken) == {Sample(None, None)}
    began_s = time.monotonic()
    thread.stop()
    assert time.monotonic() - began_s < 5


def test_as_a_worker_it_beats_with_every_sample_and_ends_when_told(board: _Board) -> None:
    stop, beats = threading.Event(), threading.Semaphore(0)
    thread = SensorThread(board.sensors(), sample_hz=100)
    worker = threading.Thread(target=thread.run, args=(stop, beats.release), daemon=True)
    worker.start()
    for _ in range(3):
        assert beats.acquire(timeout=_PATIENCE_S)
    stop.set()
    worker.join(_PATIENCE_S)
    assert not worker.is_alive()
