"""What the units ask of control groups v2 and BPF, and the kernel of an emulated machine really enforces.

Devices, addresses and memory: a device in a container has of these what this machine's kernel gives to containers.
"""

from __future__ import annotations

import re

from tests.fakes.field import units
from tests.fakes.field.changeable import CAMERA
from tests.fakes.field.faults import eat_until_killed, in_one_window
from tests.fakes.field.installation import hanging_vision_lines
from tests.fakes.field.machine_device import MachineDevice
from tests.fakes.field.reached import CONTROL, VISION

_ANYBODYS = "/dev/fuse"  # a device that every user may open, and that neither unit names
_SHOWN = f"BindPaths={_ANYBODYS}"  # control's own /dev has none
_GROUPS = "/sys/fs/cgroup/system.slice"
_MIB = 1 << 20


def devices(device: MachineDevice) -> str:
    """A device is tried with the unit as it ships, and with a line that allows it.

    Its file lets everybody in: what refuses is the unit's program for the kernel (BPF).
    """
    found = {}
    for unit, shown in ((VISION, ""), (CONTROL, _SHOWN)):
        for allowed in ("", f"DeviceAllow={_ANYBODYS} rw"):
            drop_in = "\n".join(("[Service]", shown, allowed))
            found[unit, bool(allowed)] = units.probe(device, unit, _ANYBODYS, drop_in=drop_in)
    outcomes = {key: one["opened"][_ANYBODYS] for key, one in found.items()}
    expected = {(unit, allowed): "ok" if allowed else "EPERM" for unit, allowed in outcomes}
    assert outcomes == expected, outcomes
    assert found[VISION, False]["camera"] == "ok", f"{CAMERA}: {found[VISION, False]['camera']}"
    return f"{_ANYBODYS} is refused to both units, and opened where a line allows it; vision opens {CAMERA}"


def addresses(device: MachineDevice) -> str:
    """Both addresses would answer: this machine is the only one there is."""
    outcome = units.connect_elsewhere(device)
    assert outcome != "ok", "the kernel does not enforce IPAddressDeny="
    return f"{device.broker_host} answers where it is allowed; where another one is: {outcome}"


def memory(device: MachineDevice) -> str:
    """What each unit's control group holds against its limit, after all that was done to the device so far."""
    device.wait_inferring()
    found = []
    for unit in (CONTROL, VISION):
        limit, peak, now = (_memory(device, unit, name) for name in ("max", "peak", "current"))
        asked = int(device.ask(unit, "MemoryMax"))
        assert limit == asked, f"{unit}: expected a limit of {asked} bytes, found {limit}"
        assert 0 < now <= peak < limit / 2, f"{unit}: {now} bytes, at most {peak} of {limit}"
        found.append(f"{unit} {now / _MIB:.0f}, at most {peak / _MIB:.0f} of {limit // _MIB} MiB")
    return "; ".join(found)


def out_of_memory(device: MachineDevice) -> str:
    """Vision takes memory until the kernel ends it for its own limit, not for the machine's."""
    limit = int(device.ask(VISION, "MemoryMax"))
    before = _kills(device)
    with device.changed(VISION, hanging_vision_lines()):

        def eat() -> int:
            status, pid = device.wait_renewed(), device.pid(VISION)
            eat_until_killed(device, pid)
            device.wait_back(status, pid)
            return pid

        pid, frames = in_one_window(device, eat)
    kills = _kills(device)[len(before) :]
    assert [one[0] for one in kills] == [pid], kills
    held = kills[0][1]
    assert limit / 2 < held <= limit, f"killed with {held} bytes"
    said = device.journal("--output=cat", "--lines=200", f"UNIT={VISION}")
    assert "oom-kill" in said, said
    text = f"killed by the kernel with {held / _MIB:.0f} of {limit // _MIB} MiB, started again"
    return f"{text}; the same control's window has {frames} frames"


def _memory(device: MachineDevice, unit: str, name: str) -> int:
    return int(device.read(f"{_GROUPS}/{unit}/memory.{name}"))


def _kills(device: MachineDevice) -> list[tuple[int, int]]:
    """The kills for memory within vision's control group that the kernel tells of: process and bytes it held."""
    said = device.journal("--dmesg", "--output=cat").splitlines()
    groups = [line for line in said if "CONSTRAINT_MEMCG" in line]
    assert all(f"oom_memcg=/system.slice/{VISION}" in line for line in groups), groups
    found = [re.search(r"Memory cgroup out of memory: Killed process (\d+) .*anon-rss:(\d+)kB", line) for line in said]
    return [(int(one[1]), int(one[2]) << 10) for one in found if one]
