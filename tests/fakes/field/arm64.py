"""Emulated arm64 machines, for level 2: a bare Debian is installed and set up by the deployment scripts, and reports;
and a Raspberry Pi 3B with edgeapp on it, which has 1 GB, its network on USB, and no clock of its own.

Speed and heat are the emulation's and say nothing of a board.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.device import telemetry
from tests.fakes.field import foreign_tree as trees
from tests.fakes.field import installation, kernel
from tests.fakes.field.arm64_device import ArmDevice, arm64_kernel
from tests.fakes.field.arm64_site import HOST, Site, offset_before_quarter
from tests.fakes.field.bare_device import ANSWERS, INSTALL, BundleUnavailableError, make_bundle
from tests.fakes.field.foreign_tree import foreign_tree
from tests.fakes.field.installed import why_not_installed
from tests.fakes.field.kernel import Kernel
from tests.fakes.field.machine import ARM_VIRT, why_no_machine
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.reached import CONTROL, VISION
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.trees import Tree, own_tree
from tests.fakes.subscriber import Subscriber
from tests.fakes.updating_device import UpdatingDevice, events

_PYTHON = "3.11"
PACKAGES = ("qemu-system-arm", "e2fsprogs", *trees.HOST_PACKAGES, *kernel.PACKAGES)
_COMMANDS = "edgeapp/v1/default/test-device/cmd/update"
_WAIT = "--wait-s 900"
_SCRIPTS = f"{INSTALL[0]} {_WAIT} && /opt/edgeapp/current/deploy/provision.sh --answers {ANSWERS} {_WAIT}"
# All that the scripts own, with the times of files; a .pyc is Python's.
_LIST = """
find /opt/edgeapp /etc/edgeapp /var/lib/edgeapp/models /var/lib/edgeapp/acceptance ! -name '*.pyc' \\
    \\( -type d -printf '%p %m %U:%G\\n' -o -printf '%p %m %U:%G %s %T@ %l\\n' \\) | sort
find /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /usr/local/bin -name '*edgeapp*' \\
    -printf '%p %m %U:%G %T@ %l\\n' | sort
"""
_XNNPACK = re.compile(r"model .*xnnpack took ([1-9]\d*) of \d+ nodes")
_DAY_S, _MONTH_S, _QUARTER_S = 86_400, 30 * 86_400, 900
_BEFORE_S, _AFTER_S = 20.0, 10.0  # around the end of a quarter of an hour, when counts are released
_TO_QUARTER_S = 150.0
_NO_BASE = "a step before it did not pass"
_HELD_BACK = "none are released until a time service has set the clock"


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all steps share."""

    site: Site
    made: UpdatingDevice
    bundle: Path
    tree: Path
    kernel: Kernel


Step = Callable[[ArmDevice, _Bench], str]


def run(account: Account, work: Path) -> None:
    """All steps."""
    if not account.wants(_PREPARE, *_ON_VIRT, *_ON_PI):
        return
    made: list[_Bench] = []
    with ExitStack() as stack:
        account.step(_PREPARE, partial(_prepare, work, stack, made), is_base=True)
        _run_on(account, _ON_VIRT, lambda bench: ArmDevice.virt(work / "virt", bench.kernel, bench.site), made)
        _run_on(account, _ON_PI, lambda bench: ArmDevice.pi_3b(work / "pi", bench.kernel, bench.site), made)


def _run_on(
    account: Account, steps: Mapping[str, Step], make: Callable[[_Bench], ArmDevice], made: list[_Bench]
) -> None:
    """The steps on one machine, each of which builds on the one before."""
    if not account.wants(*steps):
        return
    is_possible = bool(made)
    with ExitStack() as stack:
        device = stack.enter_context(make(made[0])) if made else None
        for name, step in steps.items():
            action = partial(step, device, made[0]) if device is not None else str
            is_possible = account.step(name, action, needs=is_possible, otherwise=_NO_BASE, is_base=True)


def _prepare(work: Path, stack: ExitStack, made: list[_Bench]) -> str:
    reason = why_not_installed(work) or why_no_machine(ARM_VIRT)
    if reason:
        raise DidNotRunError(reason)
    technician = UpdatingDevice(work / "made", port=0)
    try:
        bundle = make_bundle(work, machine="aarch64", python=_PYTHON, model=technician.folder / "model")
        tree, parts = foreign_tree("arm64", "bookworm", default_cache()), arm64_kernel(default_cache())
    except (BundleUnavailableError, FetchError) as error:
        raise DidNotRunError(str(error)) from error
    site = stack.enter_context(Site(work / "site"))
    made.append(_Bench(site, technician, bundle, tree, parts))
    return f"bookworm with Python {_PYTHON}, kernel {parts.version}, {bundle.name}"


# --- on a machine of qemu's own kind ----------------------------------------------------------------------------------


def _boots(device: ArmDevice, bench: _Bench) -> str:
    bench.site.start_time()
    device.make_disk(bench.tree, partial(_bring_to_bare, bench))
    took_s = device.boot()
    return f"{device.run('uname', '-rm').strip()}, systemd is up after {took_s:.0f} s"


def _bring_to_bare(bench: _Bench, root: Path) -> None:
    """What a technician brings, in /srv; the model is in the bundle."""
    answers = {
        "TECHNICIAN": "Ada",
        "LOCATION": "Main door, north side",
        "DEVICE_ID": "test-device",
        "CAMERA_KIND": "video",
        "CAMERA_SOURCE": "/srv/video.avi",
        "BROKER_HOST": HOST,
        "BROKER_PORT": str(bench.site.broker.port),
        "BROKER_TLS": "no",
        "BROKER_USER": "edgeapp",
        "BROKER_PASSWORD_FILE": "/srv/password",
        "ROOT_FILE": "/srv/1.root.json",
    }
    srv = root / "srv"
    shutil.copytree(bench.bundle, srv / "bundle")
    for name in ("1.root.json", "video.avi"):
        shutil.copy(bench.made.folder / name, srv)
    (srv / "password").write_text(f"{PASSWORD}\n")
    (srv / "answers").write_text("".join(f"{key}={value}\n" for key, value in answers.items()))


def _installs(device: ArmDevice, _: _Bench) -> str:
    first_s = _run_scripts(device)
    before = device.run("sh", "-c", _LIST).splitlines()
    second_s = _run_scripts(device)
    after = device.run("sh", "-c", _LIST).splitlines()
    assert before == after, f"a second run changed {sorted(set(before) ^ set(after))[:8]}"
    sheet = device.run("sh", "-c", "cat /var/lib/edgeapp/acceptance/*.txt")
    verdict = re.findall("^verdict +(.*)$", sheet, re.MULTILINE)
    assert len(verdict) == 1, sheet
    assert verdict[0].startswith("ACCEPTED"), sheet
    return f"one pass {first_s:.0f} s, {verdict[0]}; a second {second_s:.0f} s, it changed nothing"


def _run_scripts(device: ArmDevice) -> float:
    """Install and provision; how long it took, in s."""
    began_s = time.monotonic()
    said = device.run("sh", "-c", f"{{ {_SCRIPTS}; }} 2>&1; echo status $?", timeout_s=180)
    assert said.endswith("status 0\n"), said[-3000:]
    return time.monotonic() - began_s


def _reports(device: ArmDevice, bench: _Bench) -> str:
    change = "edgeapp configure $0 telemetry.window_s=5 >/tmp/config && cat /tmp/config >$0"
    device.run("sh", "-c", change, f"/{installation.CONFIG}")
    device.run("systemctl", "restart", CONTROL)
    with bench.site.subscriber() as subscriber:
        device.wait_inferring()
        subscriber.wait(lambda got: len(telemetry(got)) >= 2, "two reports", 300)
        report = telemetry(subscriber.messages)[-1]
    said = device.said("status")
    taken = _XNNPACK.search(said)
    assert taken is not None, said
    assert report["inf"]["n"] > 0, report
    return f"{' '.join(taken[0].split())}; reports of {report['inf']['n']} frames in 5 s; {_peaks(device)}"


def _peaks(device: ArmDevice) -> str:
    """What both units have taken at most, files that they read included."""
    total_kb = int(device.machine.read("/proc/meminfo").split()[1])
    taken = ", ".join(f"{unit.removesuffix('.service')} {device.peak_mb(unit):.0f}" for unit in (CONTROL, VISION))
    return f"memory at most {taken} of {total_kb / 1024:.0f} MiB"


# --- on a Raspberry Pi 3B ---------------------------------------------------------------------------------------------


def _bring_to_pi(bench: _Bench, root: Path) -> None:
    """edgeapp as it is installed, with a configuration; a release lies in /srv/stick."""
    installation.install_program(root, Tree(root, Path(f"/usr/bin/python{_PYTHON}"), root))
    for wheel in (bench.bundle / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(root / installation.OPT / "packages")
    # A service may write no bytecode, and an emulated processor would compile for minutes at each start.
    compiled = [str(own_tree().python), "-m", "compileall", "-q", "-j", "0", "-s", str(root), "-p", "/"]
    subprocess.run([*compiled, str(root / installation.OPT)], check=False, capture_output=True)
    installation.install_units(root)
    installation.bring_possessions(root, bench.made, PASSWORD)
    shutil.copy(bench.made.folder / "video.avi", root / "srv")
    shutil.copytree(bench.made.stick, root / "srv/stick")
    camera = {"kind": "video", "source": "/srv/video.avi"}
    privacy = {"epsilon_per_day": 20.0, "shares": {"entered": 1.0, "confidence": 0.0}}
    config = installation.configuration(camera, HOST, bench.site.broker.port)
    (root / installation.CONFIG).write_text(installation.merged(config, {"privacy": privacy}))


def _boots_stale(device: ArmDevice, bench: _Bench) -> str:
    bench.site.stop_time()
    bench.made.release(2)
    device.make_disk(bench.tree, partial(_bring_to_pi, bench))
    bench.site.publish(_COMMANDS, bench.made.message(version=2, exp=int(time.time()) + _MONTH_S))
    took_s = device.boot()
    behind_s = time.time() - device.wall_s()
    assert behind_s > _DAY_S, f"expected a stale clock, found one {behind_s:.0f} s behind"
    return f"systemd is up after {took_s:.0f} s; its clock is {behind_s / _DAY_S:.0f} days behind"


def _holds_back(device: ArmDevice, bench: _Bench) -> str:
    """It infers, and what needs a right clock waits: also over the end of a quarter of an hour."""
    with bench.site.subscriber() as subscriber:
        device.wait_inferring()
        subscriber.wait(lambda got: len(telemetry(got)) >= 2, "two reports of the device's health", 300)
        ends_s = (device.wall_s() // _QUARTER_S + 1) * _QUARTER_S
        device.run("date", "--set", f"@{ends_s - _BEFORE_S}")
        device.wait(lambda: device.wall_s() > ends_s + _AFTER_S, "a quarter of an hour to end")
        status = device.wait_inferring()
        said, clock = device.said("status"), _doctor(device)["clock"]
        assert status.holds_counts_back, status
        assert _HELD_BACK in said, said
        assert status.update is not None
        assert status.update.active != "bright-spot 2", status.update
        assert not _counts(subscriber), "counts were released"
        assert not any(event["phase"] == "committed" for event in events(subscriber)), events(subscriber)
        assert clock["level"] in ("warn", "fail"), clock
    update = status.update.text or status.update.phase
    return f"infers and reports; status: {_HELD_BACK}; update: {update}; doctor: {clock['level']}: {clock['found']}"


def _catches_up(device: ArmDevice, bench: _Bench) -> str:
    """The time service of the system hears of the time."""
    with bench.site.subscriber() as subscriber:
        bench.site.start_time(offset_before_quarter(_TO_QUARTER_S))
        device.run("systemctl", "restart", "systemd-timesyncd.service")
        device.wait_status(lambda now: not now.holds_counts_back, "the clock to be set")
        subscriber.wait(lambda _: bool(_counts(subscriber)), "released counts", 900)
        device.wait_status(lambda now: now.update is not None and now.update.active == "bright-spot 2", "release 2", 60)
        clock = _doctor(device)["clock"]
        assert (clock["level"], clock["found"]) == ("ok", "synchronised"), clock
        released = len(_counts(subscriber))
    return f"{released} releases of counts; release 2 of the model runs; {_peaks(device)}"


def _board(device: ArmDevice, _: _Bench) -> str:
    """What the doctor says of the board."""
    found = _doctor(device)
    assert "Raspberry Pi 3 Model B" in found["board"]["found"], found["board"]
    assert "64 bit" in found["board"]["found"], found["board"]
    return "; ".join(
        f"{name} {found[name]['level']}: {found[name]['found']}" for name in ("board", "heat", "power", "memory")
    )


def _doctor(device: ArmDevice) -> dict[str, dict[str, str]]:
    checks = json.loads(device.said("doctor", "--json"))["checks"]
    return {check["name"]: check for check in checks}


def _counts(subscriber: Subscriber) -> list[object]:
    return [one for one in subscriber.messages if one.topic.endswith("/counts")]


_PREPARE = "arm64: a bare Debian, a kernel, and a bundle for it"
_ON_VIRT: dict[str, Step] = {
    "arm64: boots": _boots,
    "arm64: from a bare Debian to a reporting device in one pass, a second changes nothing": _installs,
    "arm64: infers through XNNPACK and reports": _reports,
}
_ON_PI: dict[str, Step] = {
    "raspi3b: boots from its card, without a clock": _boots_stale,
    "raspi3b: what the doctor says of the board": _board,
    "raspi3b: unsynchronised it infers, releases no counts and installs nothing, and says so": _holds_back,
    "raspi3b: once its clock is set, counts are released and the update is installed": _catches_up,
}
