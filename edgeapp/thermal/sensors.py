"""The chip's thermometer in sysfs.

Owns where the sensor is. A board without one is no error: then the temperature is None, and status says so.
"""

from __future__ import annotations

from pathlib import Path

from edgeapp.config import ThermalConfig

_CHIP_ZONES = ("cpu-thermal", "cpu_thermal", "soc-thermal", "x86_pkg_temp")
_VALID_C = (-30.0, 110.0)


class SysfsThermometer:
    """Reads a thermal zone, by path or the first whose type is the chip's. The root folder can be replaced."""

    def __init__(self, config: ThermalConfig, sysfs: Path = Path("/sys")) -> None:
        self._path = _find(sysfs) if config.sensor_path == "auto" else Path(config.sensor_path)

    def temp_c(self) -> float | None:
        """Degrees Celsius; None without a sensor, when it cannot be read, or when it reads the impossible."""
        if self._path is None:
            return None
        try:
            value_c = int(self._path.read_text()) / 1000
        except (OSError, ValueError):
            return None
        return value_c if _VALID_C[0] <= value_c <= _VALID_C[1] and value_c != 0 else None


def _find(sysfs: Path) -> Path | None:
    zones: dict[str, Path] = {}
    for zone in sorted((sysfs / "class" / "thermal").glob("thermal_zone*")):
        try:
            zones.setdefault((zone / "type").read_text().strip(), zone / "temp")
        except OSError:
            continue
    return next((zones[name] for name in _CHIP_ZONES if name in zones), None)
