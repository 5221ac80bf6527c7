"""An emulated Raspberry Pi 3B for level 2: 1 GB, a card, its network on USB, no clock of its own.

Speed and heat are the emulation's and say nothing of a board.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.device import telemetry, write_video
from tests.fakes.field import enforced, faults, installation, kernel, kernel_clock, units
from tests.fakes.field import foreign_tree as trees
from tests.fakes.field.arm64_device import FPS, ArmDevice, arm64_kernel
from tests.fakes.field.arm64_site import Site
from tests.fakes.field.bare_device import BundleUnavailableError, make_bundle
from tests.fakes.field.foreign_tree import foreign_tree
from tests.fakes.field.installed import why_not_installed
from tests.fakes.field.kernel import Kernel
from tests.fakes.field.machine import ARM_VIRT, why_no_machine
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.trees import Tree, own_tree
from tests.fakes.updating_device import UpdatingDevice

_PYTHON = "3.11"
PACKAGES = ("qemu-system-arm", "e2fsprogs", *trees.HOST_PACKAGES, *kernel.PACKAGES)
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all steps share."""

    site: Site
    made: UpdatingDevice
    bundle: Path
    tree: Path
    kernel: Kernel

    @property
    def around(self) -> tuple[Kernel, Site, UpdatingDevice]:
        """What a device is made of, and what is around it."""
        return self.kernel, self.site, self.made


Step = Callable[[ArmDevice], str]


def run(account: Account, work: Path) -> None:
    """All steps; each but the first is of a device that has booted."""
    if not account.wants(_PREPARE, _BOOT, *_ON_PI):
        return
    made: list[_Bench] = []
    with ExitStack() as stack:
        is_possible = account.step(_PREPARE, partial(_prepare, work, stack, made), is_base=True)
        device = stack.enter_context(ArmDevice.pi_3b(work / "pi", *made[0].around)) if made else None
        is_up = account.step(
            _BOOT,
            partial(_boots_stale, device, made[0]) if device is not None else str,
            needs=is_possible,
            otherwise="nothing to boot",
            is_base=True,
        )
        for name, step in _ON_PI.items():
            action = partial(step, device) if device is not None else str
            account.step(name, action, needs=is_up, otherwise="nothing booted")


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


def _bring_to_pi(device: ArmDevice, bench: _Bench, root: Path) -> None:
    """edgeapp as it is installed, with the wheels of a bundle, and a stick with a release."""
    installation.install_program(root, Tree(root, Path(f"/usr/bin/python{_PYTHON}"), root))
    for wheel in (bench.bundle / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(root / installation.OPT / "packages")
    # A service may write no bytecode, and an emulated processor would compile for minutes at each start.
    compiled = [str(own_tree().python), "-m", "compileall", "-q", "-j", "0", "-s", str(root), "-p", "/"]
    subprocess.run([*compiled, str(root / installation.OPT)], check=False, capture_output=True)
    installation.install_units(root)
    installation.bring_possessions(root, bench.made, PASSWORD)
    write_video(root / "srv/video.avi", fps=FPS)
    bench.made.release(2)
    shutil.copytree(bench.made.stick, root / "srv/stick")
    (root / installation.CONFIG).write_text(installation.merged(device.config, {}))


def _boots_stale(device: ArmDevice, bench: _Bench) -> str:
    device.make_disk(bench.tree, partial(_bring_to_pi, device, bench))
    took_s = device.boot()
    behind_s = time.time() - device.wall_s()
    assert behind_s > _DAY_S, f"expected a stale clock, found one {behind_s:.0f} s behind"
    return f"systemd is up after {took_s:.0f} s; its clock is {behind_s / _DAY_S:.0f} days behind"


def _board(device: ArmDevice) -> str:
    """What the doctor says of the board."""
    found = _doctor(device)
    assert "Raspberry Pi 3 Model B" in found["board"]["found"], found["board"]
    assert "64 bit" in found["board"]["found"], found["board"]
    return "; ".join(
        f"{name} {found[name]['level']}: {found[name]['found']}"
        for name in ("board", "heat", "power", "clock", "memory")
    )


def _works(device: ArmDevice) -> str:
    """Frames come from a video: qemu's board has no camera."""
    with device.subscriber() as subscriber:
        device.wait_inferring()
        messages = subscriber.wait(lambda got: len(telemetry(got)) >= 2, "two reports", 30 * device.patience)
    report = telemetry(messages)[-1]
    assert report["inf"]["n"] > 0, report
    links = device.run("ip", "-brief", "address", "show", "up").splitlines()
    (link,) = [words for words in map(str.split, links) if words[0] != "lo"]
    driver = Path(device.run("readlink", f"/sys/class/net/{link[0]}/device/driver").strip()).name
    return f"{report['inf']['n']} frames in a report, over {link[0]} ({driver})"


def _doctor(device: ArmDevice) -> dict[str, dict[str, str]]:
    checks = json.loads(device.said("doctor", "--json"))["checks"]
    return {check["name"]: check for check in checks}


_PREPARE = "arm64: a bare Debian, a kernel, and a bundle for it"
_BOOT = "raspi3b: boots from its card, without a clock"
_ON_PI: dict[str, Step] = {
    "raspi3b: what the doctor says of the board": _board,
    "raspi3b: infers and reports, over the network on its USB": _works,
    "raspi3b: without a clock counts and an update wait, once it is set they come": kernel_clock.stale,
    "raspi3b: vision makes no socket but Unix ones, writes nothing, opens the camera": units.vision_sandbox,
    "raspi3b: control opens no camera, writes only its state": units.control_sandbox,
    "raspi3b: the self-test runs in control's sandbox, without network": units.self_test_sandbox,
    "raspi3b: BPF refuses devices that the units do not name": enforced.devices,
    "raspi3b: BPF refuses addresses that the units deny": enforced.addresses,
    "raspi3b: control groups v2 hold the units' limits, both stay far below": enforced.memory,
    "raspi3b: vision is killed at its limit, control lives with its open window": enforced.out_of_memory,
    "raspi3b: vision SIGSEGV, control lives with its open windows": faults.vision_dies,
    "raspi3b: vision SIGSTOP, ended by its watchdog": faults.vision_stopped,
}
