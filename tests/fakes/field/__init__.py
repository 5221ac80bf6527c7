"""Devices that are nearly real, for scripts/device-test: a real systemd, the units as they ship, real processes."""
