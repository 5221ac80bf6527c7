"""What breaks on a device, and how it comes through: faults, a stale clock, an update, a stop."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from edgeapp.status import Status
from tests.fakes.device import telemetry
from tests.fakes.field.changeable import ChangeableDevice
from tests.fakes.field.clocked_daemon import CLOCK_FILE, tell
from tests.fakes.field.hanging_vision import EAT, HANGS
from tests.fakes.field.installation import control_lines, hanging_vision_lines
from tests.fakes.field.installed import InstalledDevice
from tests.fakes.field.reached import CONTROL, SOCKET, VISION
from tests.fakes.field.reports import UPDATES, counts, expect_no_gap, wait_committed
from tests.fakes.field.steps import DidNotRunError

_STALE_S = 1_672_531_200.0  # the first of January 2023: what a board without a clock may start with
_MONTH_S = 30 * 86_400
_LIMIT_MB = 300
_Found = TypeVar("_Found")


def vision_dies(device: ChangeableDevice) -> str:
    """A crash costs frames, and nothing of what the open window has counted."""
    took_s, frames = in_one_window(device, lambda: _hurt(device, "SEGV", "died"))
    return f"inference again after {took_s:.1f} s, the window of before has {frames} frames"


def in_one_window(device: ChangeableDevice, kill_vision: Callable[[], _Found]) -> tuple[_Found, int]:
    """Have vision killed once while a window of control's is open; what that gave, and how many frames it counted."""
    device.write_config(telemetry={"window_s": 86_400})
    with device.subscriber() as subscriber:
        device.restart()
        device.wait_status(lambda now: now.frames_inferred >= 40, "40 frames")
        found = kill_vision()
        alive = device.status()
        assert alive is not None
        until = alive.frames_inferred + 40
        seen = device.wait_status(lambda now: now.frames_inferred >= until, "40 more frames")
        before = len(telemetry(subscriber.messages))
        device.write_config()
        device.restart()
        messages = subscriber.wait(lambda got: len(telemetry(got)) > before, "the window")
    report = telemetry(messages)[before]
    assert report["inf"]["n"] >= seen.frames_inferred, f"{report['inf']}, expected {seen.frames_inferred}"
    assert report["sys"]["vision_restarts"] == {"died": 1}, report["sys"]
    return found, report["inf"]["n"]


def vision_stopped(device: ChangeableDevice) -> str:
    """Nobody may kill it but systemd, and it cannot end itself."""
    before = _watchdog_ends(device, VISION)
    took_s = _hurt(device, "STOP", "silent")
    assert _watchdog_ends(device, VISION) == before + 1, "ended by its watchdog"
    return f"inference again after {took_s:.1f} s"


def vision_hangs(kind: str, device: ChangeableDevice) -> str:
    """A camera's read that does not return (`read`), or a library that keeps the interpreter lock (`lock`)."""
    cause = {"read": "stalled", "lock": "silent"}[kind]
    with device.changed(VISION, hanging_vision_lines()):
        before, pid, began_s = device.wait_renewed(), device.pid(VISION), time.monotonic()
        device.write(str(HANGS[kind]), b"")
        try:
            _wait_lost(device, before, cause)
        finally:
            device.remove(str(HANGS[kind]))
        device.wait_back(before, pid)
        took_s = time.monotonic() - began_s
    return f"{cause}, inference again after {took_s:.1f} s"


def vision_out_of_memory(device: InstalledDevice) -> str:
    """MemoryMax= needs a memory controller that the device's systemd has; here the limit is set from outside."""
    with device.changed(VISION, hanging_vision_lines()):
        before, pid = device.wait_renewed(), device.pid(VISION)
        with _memory_limit(device.host_pid(VISION)) as kills:
            eat_until_killed(device, pid)
            assert kills() >= 1, "killed for its memory"
        device.wait_back(before, pid)
    return f"killed by the kernel at {_LIMIT_MB} MiB, the same control infers again"


def eat_until_killed(device: ChangeableDevice, pid: int) -> None:
    """Have the hanging vision with this id take memory until another one runs."""
    device.write(str(EAT), b"")
    try:
        device.wait(lambda: device.pid(VISION) not in (0, pid), "vision to be killed")
    finally:
        device.remove(str(EAT))


def control_hangs(device: ChangeableDevice) -> str:
    with device.changed(CONTROL, ("WatchdogSec=3",)):
        device.wait_inferring()
        pid, before = device.pid(CONTROL), _watchdog_ends(device, CONTROL)
        device.run("kill", "-STOP", str(pid))
        took_s = device.wait(lambda: device.pid(CONTROL) not in (0, pid), "another control")
        device.wait_inferring()
        assert device.ask(CONTROL, "NRestarts") == "1"
        assert _watchdog_ends(device, CONTROL) == before + 1
    return f"another control after {took_s:.1f} s, with WatchdogSec=3"


def reload(device: ChangeableDevice) -> str:
    before = device.wait_inferring()
    device.write_config(inference={"max_fps": 7.0})
    device.run("systemctl", "reload", CONTROL)
    after = device.wait_status(lambda now: now.fps_wanted == 7.0, "the new rate")
    assert after.pid == before.pid
    device.write_config(inference={"max_fps": -7.0})
    device.run("systemctl", "reload", CONTROL)
    refused = device.wait_status(lambda now: "max_fps" in now.reload_error, "the refusal")
    assert refused.fps_wanted == 7.0
    device.write_config()
    device.run("systemctl", "reload", CONTROL)
    device.wait_status(lambda now: now.fps_wanted == 20.0, "the old rate")
    return "a wrong one was refused, and the running one kept"


def configuration_error(device: ChangeableDevice) -> str:
    device.write_config(inference={"max_fps": -1})
    device.run("systemctl", "restart", CONTROL, check=False)
    device.wait(lambda: device.ask(CONTROL, "ActiveState") == "failed", "the failure")
    assert device.ask(CONTROL, "ExecMainStatus") == "78"
    time.sleep(2 * 2.0)  # RestartSec, twice
    assert device.ask(CONTROL, "ActiveState") == "failed", "it is not started again"
    said = device.journal("--unit", CONTROL, "--lines=20")
    assert "inference.max_fps: expected" in said, said
    assert device.ask(VISION, "ActiveState") == "active", "vision waits for control"
    device.write_config()
    device.run("systemctl", "start", CONTROL)
    device.wait_inferring()
    return "the journal says which key; mended and started"


def update(device: InstalledDevice) -> str:
    """Vision, which cannot write the store, reads the new release there; and again after a crash."""
    device.made.release(2)
    _fill_stick(device)
    tell(_clock_file(device), time.time(), speed=1.0, is_synchronised=True)
    with device.changed(CONTROL, control_lines("tests.fakes.field.clocked_daemon")):
        return install(device, 2)


def install(device: ChangeableDevice, version: int) -> str:
    """Have a release installed that is on the device's stick, under a clock that is right."""
    with device.subscriber() as subscriber:
        device.wait_inferring()
        device.publish(UPDATES, device.made.message(version=version))
        wait_committed(subscriber, version, 60 * device.patience)
    _wait_version(device, version)
    _hurt(device, "SEGV", "died")
    _wait_version(device, version)
    device.publish(UPDATES, b"")
    return f"release {version} committed and running, also after a crash of vision"


def stale_clock(device: InstalledDevice) -> str:
    """A board without a clock of its own starts years back and learns the time later."""
    device.made.release(3)
    _fill_stick(device)
    privacy = {"epsilon_per_day": 20.0, "shares": {"entered": 1.0, "confidence": 0.0}}
    device.write_config(privacy=privacy, telemetry={"window_s": 900})
    device.publish(UPDATES, device.made.message(version=3, exp=int(time.time()) + _MONTH_S))
    device.drop_in(CONTROL, "test", *control_lines("tests.fakes.field.clocked_daemon"))
    device.power_off()
    tell(_clock_file(device), _STALE_S, speed=900.0, is_synchronised=False)
    with device.subscriber() as subscriber:
        device.boot()
        early = device.wait_inferring()
        subscriber.wait(lambda got: len(telemetry(got)) >= 4, "reports of an hour, by the device's clock")
        status = device.wait_inferring()
        assert early.holds_counts_back
        assert status.update is not None
        assert status.update.active != "bright-spot 3", status.update
        assert not counts(subscriber), "no count is released"
        tell(_clock_file(device), time.time(), speed=900.0, is_synchronised=True)
        subscriber.wait(lambda _: len(counts(subscriber)) >= 2, "releases under a right clock", 60)
        wait_committed(subscriber, 3)
        device.publish(UPDATES, b"")
        released = len(counts(subscriber))
    device.drop_in(CONTROL, "test")
    device.write_config()
    device.run("systemctl", "daemon-reload")
    device.restart()
    return f"inferred from the start; then {released} releases of counts, and release 3 of the model committed"


def killed_and_booted(device: InstalledDevice) -> str:
    with device.subscriber() as subscriber:
        device.wait_inferring()
        count = len(telemetry(subscriber.messages))
        subscriber.wait(lambda got: len(telemetry(got)) > count, "a report")
        device.kill()
        boot_s = device.boot()
        device.wait_inferring()
        count = len(telemetry(subscriber.messages))
        messages = subscriber.wait(lambda got: len(telemetry(got)) > count, "a report after the boot", 30)
    return f"booted in {boot_s:.1f} s, {expect_no_gap(messages)} reports without a gap"


def stop(device: InstalledDevice) -> str:
    device.wait_inferring()
    began_s = time.monotonic()
    device.run("systemctl", "stop", CONTROL, VISION, SOCKET)
    took_s = time.monotonic() - began_s
    for unit in (CONTROL, VISION):
        assert device.ask(unit, "Result") == "success", f"{unit}: {device.ask(unit, 'Result')}"
    left = device.run("pgrep", "--uid", "edgeapp,edgeapp-vision", "--list-full", check=False)
    assert left == "", left
    assert not (device.inside / "run/edgeapp/vision.sock").exists()
    return f"both ended in {took_s:.1f} s, nothing left behind"


def _watchdog_ends(device: ChangeableDevice, unit: str) -> int:
    """How often systemd has ended a unit's process because it was silent, over all boots."""
    return device.journal("--output=cat", f"UNIT={unit}").count("Watchdog timeout")


def _hurt(device: ChangeableDevice, signal_name: str, cause: str) -> float:
    """Send vision a signal; the seconds until the same control infers again."""
    before, pid, began_s = device.wait_inferring(), device.pid(VISION), time.monotonic()
    device.run("kill", f"-{signal_name}", str(pid))
    _wait_lost(device, before, cause)
    device.wait_back(before, pid)
    return time.monotonic() - began_s


def _wait_lost(device: ChangeableDevice, before: Status, cause: str) -> None:
    count = before.vision_restarts.get(cause, 0)
    device.wait_status(lambda now: now.vision_restarts.get(cause, 0) > count, f"vision to be lost: {cause}")


@contextlib.contextmanager
def _memory_limit(pid: int) -> Iterator[Callable[[], int]]:
    """Limit what a process may still take; gives a function that counts the kernel's kills."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    if (old / "memory.limit_in_bytes").exists():
        group, limit, account = old / f"edgeapp-{pid}", "memory.limit_in_bytes", "memory.oom_control"
    elif new.joinpath("cgroup.controllers").exists():
        group, limit, account = new / f"edgeapp-{pid}", "memory.max", "memory.events"
    else:
        raise DidNotRunError("the kernel has no memory controller for control groups")
    group.mkdir()
    (group / limit).write_text(str(_LIMIT_MB << 20))
    (group / "cgroup.procs").write_text(str(pid))

    def kills() -> int:
        words = (group / account).read_text().split()
        return int(words[words.index("oom_kill") + 1])

    try:
        yield kills
    finally:
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            with contextlib.suppress(OSError):  # until the killed process is gone
                group.rmdir()
                break
            time.sleep(0.1)


def _clock_file(device: InstalledDevice) -> Path:
    return device.root / str(CLOCK_FILE)[1:]


def _fill_stick(device: InstalledDevice) -> None:
    shutil.copytree(device.made.stick, device.root / "srv/stick", dirs_exist_ok=True)


def _wait_version(device: ChangeableDevice, version: int) -> None:
    device.wait_status(lambda now: now.model is not None and now.model.version == version, f"release {version}")
