"""Steps of level 1 on a machine that qemu imitates: what containers cannot show, since they have this machine's kernel.

A real driver gives the camera, ACPI the temperature; control groups v2 hold the memory, BPF the addresses and devices;
the clock is the kernel's own, and the reset button tells nobody. Speed and heat are not those of any real board.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.status import Status
from edgeapp.workshop import demo_assets
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.device import telemetry
from tests.fakes.field import kernel
from tests.fakes.field.emulated_device import CAMERA, DEBIAN, MODULES, ZONE, EmulatedDevice
from tests.fakes.field.hanging_vision import EAT
from tests.fakes.field.installation import hanging_vision_lines
from tests.fakes.field.machine import PC, Accelerator, find_accelerator, why_no_machine
from tests.fakes.field.nspawn import why_not
from tests.fakes.field.reached import CONTROL, VISION
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.trees import debian_tree
from tests.fakes.field.units import rtsp_drop_in
from tests.fakes.subscriber import Subscriber
from tests.fakes.updating_device import events

_BOOT = "emulated: a machine with Debian's kernel boots, its clock years back, its camera not there yet"
_RELEASE, _PYTHON_VERSION = "bookworm", "3.11"
_COMMANDS = "edgeapp/v1/default/test-device/cmd/update"
_STALE = "2023-01-01T00:00:00"
_HOUR_S, _QUARTER_S, _MONTH_S = 3600, 900, 30 * 86_400
_HOT_C, _COOL_C = 90, 50
_OUTSIDE, _ELSEWHERE = "10.0.2.2", "192.0.2.1"  # this machine as the guest sees it; RFC 5737: nobody's
_MEMORY_S = 60.0
_FOREIGN_DEVICE = "/dev/loop-control"
Step = Callable[[EmulatedDevice], str]
Choice = Accelerator | None


def run(account: Account, work: Path, accelerator: Choice = None) -> None:
    """All steps on the emulated machine; with the accelerator that is found where none is chosen."""
    if not any(account.only in name for name in (_BOOT, *map(_name_of, ON_THE_MACHINE))):
        return  # no need to boot it
    made: list[EmulatedDevice] = []
    with ExitStack() as stack:
        is_up = account.step(
            _BOOT,
            partial(_boot, work, accelerator, made, stack),
            is_base=True,
        )
        for name, step in ON_THE_MACHINE.items():
            account.step(_name_of(name), lambda step=step: step(made[0]), needs=is_up, otherwise="nothing booted")  # type: ignore[misc]


def _name_of(step: str) -> str:
    return f"emulated: {step}"


def _boot(work: Path, chosen: Choice, made: list[EmulatedDevice], stack: ExitStack) -> str:
    reason = why_no_machine(PC) or why_not(work)
    if reason:
        raise DidNotRunError(reason)
    try:
        found = kernel.prepare("amd64", default_cache(), later=MODULES)
        tree = debian_tree(_RELEASE, _PYTHON_VERSION, default_cache(), more=DEBIAN)
    except FetchError as error:
        raise DidNotRunError(str(error)) from error
    accelerator, why_slow = (chosen, "as asked for") if chosen else find_accelerator(PC, found.image)
    device = EmulatedDevice(work / "emulated", tree, found, accelerator)
    made.append(stack.enter_context(device))
    took_s = device.boot("-rtc", f"base={_STALE}")
    how = "KVM" if accelerator == "kvm" else f"without KVM ({why_slow})"
    return f"{found.version}, {how}, systemd is up after {took_s:.0f} s"


def camera_comes_late(device: EmulatedDevice) -> str:
    """Vision runs before any driver of a camera is loaded: the kernel learns of video devices only later."""
    status = device.wait_status(
        lambda now: now.camera is not None and now.camera.error, "the missing camera to be told"
    )
    assert status.camera is not None
    assert "no such camera" in status.camera.error, status.camera
    pids = {unit: device.pid(unit) for unit in (CONTROL, VISION)}
    device.load_camera()
    status = device.wait_inferring()
    assert {unit: device.pid(unit) for unit in (CONTROL, VISION)} == pids, "nothing was started again"
    return _granted(status)


def works(device: EmulatedDevice) -> str:
    with device.subscriber() as subscriber:
        status = device.wait_inferring()
        messages = subscriber.wait(lambda got: len(telemetry(got)) >= 2, "two reports", 30 * device.patience)
    report = telemetry(messages)[-1]
    assert report["inf"]["n"] > 0, report
    assert report["sys"]["camera"]["state"] == "running", report["sys"]
    assert report["sys"]["temp_c"] == 45, "what the thermal zone says"
    driver = device.run("cat", f"/sys/class/video4linux/{CAMERA.rpartition('/')[2]}/name").strip()
    return f"{driver}: {_granted(status)}; {report['inf']['n']} frames in the last report"


def stale_clock(device: EmulatedDevice) -> str:
    """The clock began years back; it goes on so for hours, and is set by a time service at last."""
    with device.subscriber() as subscriber:
        began_s = float(device.run("date", "+%s"))
        assert began_s < time.time() - _MONTH_S, began_s
        device.write_config(privacy={"epsilon_per_day": 20.0, "shares": {"entered": 1.0, "confidence": 0.0}})
        _restart(device)
        device.publish(_COMMANDS, device.made.message(version=2, exp=int(time.time()) + _MONTH_S))
        for hours in (1, 2, 3):
            device.set_clock(began_s + hours * _HOUR_S, is_synchronised=False)
            count = len(telemetry(subscriber.messages))
            _wait_reports(device, subscriber, count + 1)
        status = device.wait_inferring()
        assert status.holds_counts_back
        assert status.update is not None
        assert status.update.active != "bright-spot 2", status.update
        assert not _counts(subscriber), "no count is released"
        device.set_clock(time.time(), is_synchronised=True)
        device.wait_status(lambda now: not now.holds_counts_back, "the clock to be believed")
        _wait_committed(device, subscriber, 2)
        assert not _counts(subscriber), "nothing that was counted under a stale clock is released"
        quarter_s = math.ceil(time.time() / _QUARTER_S) * _QUARTER_S
        device.set_clock(quarter_s - 2, is_synchronised=True)
        subscriber.wait(lambda _: bool(_counts(subscriber)), "counts under a right clock", 60 * device.patience)
    device.publish(_COMMANDS, b"")
    year = datetime.fromtimestamp(began_s, UTC).date()
    return f"began on {year}; inferred from the start, released and installed once the clock was set"


def camera_unplugged(device: EmulatedDevice) -> str:
    before = device.wait_inferring()
    pids = {unit: device.pid(unit) for unit in (CONTROL, VISION)}
    assert before.camera is not None
    device.unplug_camera()
    lost = device.wait_status(lambda now: now.camera is not None and now.camera.state == "retrying", "the loss")
    assert lost.camera is not None
    lost = device.wait_status(lambda now: now.camera is not None and "no such" in now.camera.error, "the reason")
    shown = device.run(
        "/opt/edgeapp/current/bin/edgeapp", "status", "--config", "/etc/edgeapp/config.yaml", check=False
    )
    assert "no such camera" in shown, shown
    device.plug_camera()
    began_s = time.monotonic()
    back = device.wait_status(lambda now: now.camera is not None and now.camera.state == "running", "the camera")
    device.wait_inferring()
    took_s = time.monotonic() - began_s
    assert back.camera is not None
    assert back.camera.reopened > before.camera.reopened, back.camera
    assert {unit: device.pid(unit) for unit in (CONTROL, VISION)} == pids, "nothing was started again"
    assert lost.camera is not None
    return f"told as “{lost.camera.error}”, back {took_s:.1f} s after it was plugged in"


def heat(device: EmulatedDevice) -> str:
    """The zone says 90 and 91 °C in turns: a thermometer that stands still while the work changes is not trusted."""
    device.heat(_COOL_C)
    wanted_fps = device.wait_status(lambda now: now.heat.limited_by not in ("heat", "blind"), "a cool start").fps_wanted
    turns = itertools.cycle((0, 1))
    with device.subscriber() as subscriber:

        def is_hot(now: Status) -> bool:
            device.heat(_HOT_C + next(turns))
            return now.heat.limited_by == "heat" and now.heat.rate_fps < wanted_fps / 4

        def is_told(now: Status) -> bool:
            device.heat(_HOT_C + next(turns))
            return bool(telemetry(subscriber.messages)[-1]["sys"]["heat"]["limited_by"] == "heat")

        hot = device.wait_status(is_hot, "the rate to be lowered")
        device.wait_status(is_told, "a report about it")
        report = telemetry(subscriber.messages)[-1]
        doctor = _doctor(device, "heat")

        def is_cool(now: Status) -> bool:
            device.heat(_COOL_C + next(turns))
            return now.heat.limited_by not in ("heat", "blind") and now.heat.rate_fps >= wanted_fps

        device.wait_status(is_cool, "the rate to come back", 60)
    kind = device.run("cat", f"{ZONE}/type").strip()
    told = report["sys"]["heat"]
    assert told["source"] == "sensor", told
    return (
        f"{kind}: “{hot.heat.text}”, reported as {told['state']} at {told['rate_fps']} fps; doctor: {doctor}; came back"
    )


def devices_and_addresses(device: EmulatedDevice) -> str:
    """What DeviceAllow=, DevicePolicy= and IPAddressDeny= say is done by programs in the kernel (BPF)."""
    device.run("chmod", "0666", _FOREIGN_DEVICE)
    device.run("setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", f": < {_FOREIGN_DEVICE}")
    port = str(device.broker.port)
    camera = device.probe(VISION, "sandbox_probe", CAMERA, _OUTSIDE, port)
    assert camera["camera"] in ("ok", "EBUSY"), camera["camera"]
    assert camera["connect"] != "ok"
    for unit in (VISION, CONTROL):
        foreign = device.probe(unit, "sandbox_probe", _FOREIGN_DEVICE, _OUTSIDE, port)
        assert foreign["camera"] in ("EPERM", "ENOENT"), f"{unit}: {_FOREIGN_DEVICE}: {foreign['camera']}"
    answers = {
        address: device.probe(VISION, "sandbox_probe", CAMERA, _OUTSIDE, port, drop_in=rtsp_drop_in(address))["connect"]
        for address in (_OUTSIDE, _ELSEWHERE)
    }
    assert answers[_OUTSIDE] == "ok", answers
    assert answers[_ELSEWHERE] in ("EPERM", "EACCES"), answers
    return f"vision opens its camera, not {_FOREIGN_DEVICE}; a camera's address answers, others {answers[_ELSEWHERE]}"


def memory(device: EmulatedDevice) -> str:
    """With the demo's model for a minute; the kernel's own account, libraries and all."""
    try:
        model = demo_assets.prepare(default_cache()).int8_model_dir
    except FetchError as error:
        raise DidNotRunError(str(error)) from error
    where = "/var/lib/edgeapp/models/demo"
    device.bring(model, where)
    device.write_config(inference={"model_dir": where}, updates={"enabled": False})
    device.run("systemctl", "restart", VISION)
    _restart(device)
    time.sleep(_MEMORY_S)
    status = device.wait_inferring()
    found = []
    for unit in (CONTROL, VISION):
        limit_mb, peak_mb = int(device.ask(unit, "MemoryMax")) / (1 << 20), device.memory_peak_mb(unit)
        enforced = device.machine.read(f"/sys/fs/cgroup/system.slice/{unit}/memory.max").decode().strip()
        assert int(enforced) == int(device.ask(unit, "MemoryMax")), enforced
        assert peak_mb < limit_mb / 1.5, f"{unit}: {peak_mb:.0f} of {limit_mb:.0f} MiB"
        found.append(f"{unit} {peak_mb:.0f} of {limit_mb:.0f} MiB")
    device.write_config()
    _restart(device)
    assert status.model is not None
    return f"{status.model.name}: at most {', '.join(found)}"


def out_of_memory(device: EmulatedDevice) -> str:
    """Vision takes more than its MemoryMax=, as shipped."""
    before_kills = _kills(device)
    device.drop_in(VISION, "test", "\n".join(("[Service]", *hanging_vision_lines())))
    device.run("systemctl", "restart", VISION)
    before, pid = device.wait_inferring(), device.pid(VISION)
    device.run("touch", str(EAT))
    try:
        device.wait(lambda: device.pid(VISION) not in (0, pid), "vision to be killed")
    finally:
        device.run("rm", str(EAT))
    assert _kills(device) > before_kills, "killed by the kernel for its memory"
    device.wait_inferring()
    after = device.wait_inferring()
    assert after.pid == before.pid, "control was not started again"
    device.drop_in(VISION, "test", "")
    device.run("systemctl", "restart", VISION)
    device.wait_inferring()
    return f"killed by the kernel at {int(device.ask(VISION, 'MemoryMax')) >> 20} MiB, the same control infers again"


def hard_reset(device: EmulatedDevice) -> str:
    """In the middle of the work, with the disk's cache full of what was not written yet."""
    device.load_camera_at_boot()
    with device.subscriber() as subscriber:
        device.wait_inferring()
        _wait_reports(device, subscriber, 2)
        before = len(telemetry(subscriber.messages))
        boot_id = device.machine.boot_id
        device.machine.reset()
        took_s = device.wait_booted()
        assert device.machine.boot_id != boot_id
        device.wait_inferring(60)
        _wait_reports(device, subscriber, before + 2)
        messages = subscriber.messages
    numbers = {report["seq"] for report in telemetry(messages)}
    missing = set(range(min(numbers), max(numbers) + 1)) - numbers
    others = {one.fields["seq"] for one in messages if one.topic.endswith(("/counts", "/event", "/cmd-result"))}
    assert not missing - others, f"reports {sorted(missing - others)} of {sorted(numbers)} are missing"
    starts = {report["boot"] for report in telemetry(messages)}
    assert len(starts) == 2, starts
    return f"up by itself after {took_s:.0f} s, {len(numbers)} reports of two boots without a gap"


def power_off(device: EmulatedDevice) -> str:
    began_s = time.monotonic()
    device.machine.power_off()
    return f"off after {time.monotonic() - began_s:.1f} s"


ON_THE_MACHINE: dict[str, Step] = {
    "a camera whose driver is loaded after the start is opened": camera_comes_late,
    "V4L2 camera, thermal zone and network: infers and reports": works,
    "stale clock: infers, releases and installs nothing until it is set": stale_clock,
    "the camera is unplugged and plugged in again": camera_unplugged,
    "the thermal zone heats and cools": heat,
    "BPF: devices and addresses": devices_and_addresses,
    "memory: limits of control groups v2, the demo's model for a minute": memory,
    "memory: vision beyond its limit is killed and comes back": out_of_memory,
    "hard reset: boots by itself, no report is missing": hard_reset,
    "power off": power_off,
}


def _granted(status: Status) -> str:
    camera = status.camera
    assert camera is not None
    return f"{camera.width} x {camera.height} {camera.pixel_format} at {camera.source_fps:.1f} fps"


def _restart(device: EmulatedDevice) -> None:
    device.run("systemctl", "restart", CONTROL)
    device.wait_inferring(60)


def _wait_reports(device: EmulatedDevice, subscriber: Subscriber, count: int) -> None:
    subscriber.wait(lambda got: len(telemetry(got)) >= count, f"{count} reports", 40 * device.patience)


def _wait_committed(device: EmulatedDevice, subscriber: Subscriber, version: int) -> None:
    def is_there(_: object) -> bool:
        return any(one["phase"] == "committed" and one["active"]["version"] == version for one in events(subscriber))

    try:
        subscriber.wait(is_there, f"release {version} to be committed", 90 * device.patience)
    except AssertionError as error:
        raise AssertionError(f"{error}; events: {events(subscriber)}") from None


def _counts(subscriber: Subscriber) -> list[object]:
    return [one for one in subscriber.messages if one.topic.endswith("/counts")]


def _kills(device: EmulatedDevice) -> int:
    """How often the kernel has killed vision for its memory, by systemd's account."""
    return device.journal("--output=cat", f"UNIT={VISION}").count("killed by the OOM killer")


def _doctor(device: EmulatedDevice, name: str) -> str:
    """What doctor says of one thing."""
    command = ("/opt/edgeapp/current/bin/edgeapp", "doctor", "--config", "/etc/edgeapp/config.yaml")
    said = device.run(*command, check=False, timeout_s=120)
    with contextlib.suppress(StopIteration):
        return next(line for line in said.splitlines() if f" {name} " in line).strip()
    raise AssertionError(f"doctor says nothing of {name}: {said}")
