"""The chip's thermometer is found by its type; without one there is no temperature and no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeapp.config import ThermalConfig
from edgeapp.thermal.sensors import SysfsThermometer


def _zone(sysfs: Path, index: int, kind: str, temp: str) -> Path:
    zone = sysfs / "class" / "thermal" / f"thermal_zone{index}"
    zone.mkdir(parents=True)
    (zone / "type").write_text(kind + "\n")
    (zone / "temp").write_text(temp + "\n")
    return zone / "temp"


def test_the_zone_of_the_chip_is_found_by_its_type(tmp_path: Path) -> None:
    _zone(tmp_path, 0, "nvme", "31000")
    _zone(tmp_path, 1, "cpu-thermal", "54200")
    assert SysfsThermometer(ThermalConfig(), tmp_path).temp_c() == 54.2


def test_a_configured_path_wins(tmp_path: Path) -> None:
    path = _zone(tmp_path, 0, "nvme", "31000")
    assert SysfsThermometer(ThermalConfig(sensor_path=str(path)), tmp_path).temp_c() == 31.0


@pytest.mark.parametrize("raw", ["0", "-40000", "200000", "", "hot"])
def test_an_impossible_reading_is_none(tmp_path: Path, raw: str) -> None:
    _zone(tmp_path, 0, "cpu-thermal", raw)
    assert SysfsThermometer(ThermalConfig(), tmp_path).temp_c() is None


def test_a_board_without_a_sensor_has_no_temperature(tmp_path: Path) -> None:
    assert SysfsThermometer(ThermalConfig(), tmp_path).temp_c() is None


def test_a_sensor_that_goes_away_is_none(tmp_path: Path) -> None:
    path = _zone(tmp_path, 0, "cpu-thermal", "54200")
    thermometer = SysfsThermometer(ThermalConfig(), tmp_path)
    path.unlink()
    assert thermometer.temp_c() is None
