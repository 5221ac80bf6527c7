"""Steps of level 1 on a machine that qemu imitates: what containers cannot show, since they have this machine's kernel.

A real driver gives the camera, ACPI the temperature. Speed and heat are not those of any real board.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.status import Status
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.device import telemetry
from tests.fakes.field import enforced, faults, kernel, kernel_clock, machine_power, secrecy, units
from tests.fakes.field.changeable import CAMERA
from tests.fakes.field.emulated_device import DEBIAN, MODULES, ZONE, EmulatedDevice
from tests.fakes.field.machine import PC, Accelerator, find_accelerator, why_no_machine
from tests.fakes.field.nspawn import why_not
from tests.fakes.field.reached import CONTROL, VISION
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.trees import debian_tree

_BOOT = "emulated: a machine with Debian's kernel boots, its clock chip years back, its camera not there yet"
_RELEASE, _PYTHON_VERSION = "bookworm", "3.11"
_STALE = "2023-01-01T00:00:00"
_HOT_C, _COOL_C = 90, 50
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
    return f"{found.version}, {how}, edgeapp tells its status after {took_s:.0f} s"


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
    """The zone says two values in turns: a thermometer that stands still while the work changes is not trusted."""
    turns = itertools.cycle((0, 1))

    def is_said(temp_c: int, is_so: Callable[[Status], bool]) -> Callable[[Status], bool]:
        def say_and_look(now: Status) -> bool:
            device.heat(temp_c + next(turns))
            return is_so(now)

        return say_and_look

    def is_free(now: Status) -> bool:
        return now.heat.limited_by not in ("heat", "blind") and now.heat.rate_fps >= now.fps_wanted

    def is_slow(now: Status) -> bool:
        return now.heat.limited_by == "heat" and now.heat.rate_fps < now.fps_wanted / 4

    def is_reported(_: Status) -> bool:
        return any(one["sys"]["heat"]["limited_by"] == "heat" for one in telemetry(subscriber.messages))

    device.wait_status(is_said(_COOL_C, is_free), "a cool start")
    with device.subscriber() as subscriber:
        hot = device.wait_status(is_said(_HOT_C, is_slow), "the rate to be lowered")
        device.wait_status(is_said(_HOT_C, is_reported), "a report about it")
    began_s = time.monotonic()
    device.wait_status(is_said(_COOL_C, is_free), "the rate to come back", 60)
    took_s = time.monotonic() - began_s
    kind = device.run("cat", f"{ZONE}/type").strip()
    return f"{kind}: “{hot.heat.text}”; at {_COOL_C} °C the full rate is back after {took_s:.1f} s"


def update(device: EmulatedDevice) -> str:
    """Under the kernel's clock, which is right by now."""
    return faults.install(device, 3)


ON_THE_MACHINE: dict[str, Step] = {
    "a camera whose driver is loaded after the start is opened": camera_comes_late,
    "V4L2 camera, thermal zone and network: infers and reports": works,
    "stale clock: infers, releases and installs nothing until it is set": kernel_clock.stale,
    "the camera is unplugged and plugged in again": camera_unplugged,
    "the thermal zone heats and cools, the rate follows": heat,
    "sandbox: vision makes no socket but Unix ones, writes nothing, opens the camera": units.vision_sandbox,
    "sandbox: control opens no camera, writes only its state": units.control_sandbox,
    "sandbox: the self-test runs in control's, without network": units.self_test_sandbox,
    "sandbox: BPF refuses devices that the units do not name": enforced.devices,
    "sandbox: BPF refuses addresses that the units deny": enforced.addresses,
    "memory: control groups v2 hold the units' limits, both stay far below": enforced.memory,
    "memory: vision is killed at its limit, control lives with its open window": enforced.out_of_memory,
    "fault: vision SIGSEGV, control lives with its open windows": faults.vision_dies,
    "fault: vision SIGSTOP, ended by its watchdog": faults.vision_stopped,
    "fault: the camera hangs in its driver": partial(faults.vision_hangs, "read"),
    "fault: a library keeps the interpreter lock": partial(faults.vision_hangs, "lock"),
    "fault: control hangs, started again by its watchdog": faults.control_hangs,
    "secrets: not readable by others, not in journal, status or environment": secrecy.credentials,
    "journal: fields and message ids": secrecy.journal_fields,
    "reload: a new rate, without a restart": faults.reload,
    "update: a new release is tested, tried and committed": update,
    "power: the reset button while reports wait, none is missing": machine_power.reset,
    "power: off in order and in time": machine_power.power_off,
}


def _granted(status: Status) -> str:
    camera = status.camera
    assert camera is not None
    return f"{camera.width} x {camera.height} {camera.pixel_format} at {camera.source_fps:.1f} fps"
