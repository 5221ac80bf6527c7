"""The deployment scripts, for real: from a bare Debian to a reporting device, what may be wrong there, and back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.fakes.field.bare_device import BareDevice, BundleUnavailableError, make_bundle
from tests.fakes.field.certificate_faults import wrong_certificates
from tests.fakes.field.network_camera import NetworkCamera
from tests.fakes.field.provision_drill import Drill
from tests.fakes.field.steps import Account, DidNotRunError

_SEED = 7
_SET_UP = "deploy: from a bare Debian to a device that reports over TLS"


def run(account: Account, work: Path, reason: str, interruptions: int) -> None:
    """All steps, on one device; `reason` says why there can be none, empty where there can."""
    with ExitStack() as stack:
        device: list[BareDevice] = []
        camera = NetworkCamera(stack)
        steps = {
            "deploy: wrong certificates are told, cost no report and are mended": wrong_certificates,
            "deploy: a network camera gives pictures, its address alone is opened": camera.provision,
            "deploy: no other address than the camera's gives pictures": camera.elsewhere,
            "deploy: taken away, nothing is left": _take_away,
        }
        if not any(account.only in name for name in (_SET_UP, *steps)):
            return

        def set_up() -> str:
            device.append(stack.enter_context(_bare_device(work)))
            return _from_bare_to_reporting(device[0], interruptions)

        is_set_up = account.step(_SET_UP, set_up, needs=not reason, otherwise=reason, is_base=True)
        for name, step in steps.items():
            otherwise = reason or "no device was set up"
            account.step(name, lambda step=step: step(device[0]), needs=is_set_up, otherwise=otherwise)  # type: ignore[misc]


def _bare_device(work: Path) -> BareDevice:
    folder = work / "bundle"
    folder.mkdir(parents=True)
    try:
        return BareDevice(work / "bare", {"bundle": make_bundle(folder)})
    except BundleUnavailableError as error:
        raise DidNotRunError(f"no bundle can be made: {error}") from error


def _from_bare_to_reporting(device: BareDevice, interruptions: int) -> str:
    """Install and provision with no network but the local broker, again, and after being killed."""
    device.boot()
    drill = Drill(device, _SEED)
    drill.set_up(interruptions)
    seen = drill.seen
    assert not seen.troubles, "\n".join(seen.troubles)
    text = f"one pass took {seen.pass_s:.0f} s, {seen.reports} reports, a second run changed nothing"
    return f"{text}; right after {seen.interruptions} kills"


def _take_away(device: BareDevice) -> str:
    device.take_away()
    left = device.tree(with_times=False)
    assert not left, f"left behind: {sorted(left)}"
    return "uninstalled with all that it knew"
