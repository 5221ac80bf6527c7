"""The deployment scripts, for real: from a bare Debian to a reporting device, what may be wrong there, and back.

What needs no service is tried below a folder, by tests/deploy.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.fakes.field import versions
from tests.fakes.field.bare_device import PROVISION, BareDevice, BundleUnavailableError, differences, make_bundle
from tests.fakes.field.certificate_faults import wrong_certificates
from tests.fakes.field.installation import ROOT
from tests.fakes.field.network_camera import NetworkCamera
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.provision_drill import Drill, sheets
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.tiny_models import make_model_folder

_SEED = 7
_BUNDLE = "deploy: a bundle is made"
_BELOW_A_FOLDER = "deploy: install, provision and uninstall below a folder"
_SET_UP = "deploy: from a bare Debian to a device that reports over TLS"


def run(account: Account, work: Path, reason: str, interruptions: int) -> None:
    """All steps; `reason` says why there can be no device, empty where there can."""
    with ExitStack() as stack:
        camera = NetworkCamera(stack)
        on_device = {
            "deploy: a wrong password is found before anything is written": _wrong_password,
            "deploy: wrong certificates are told, cost no report and are mended": wrong_certificates,
            "deploy: a new version takes over, and a bad one gives way to it": versions.new_and_bad,
            "deploy: an older version is taken only where that is meant": versions.older,
            "deploy: a network camera gives pictures, its address alone is opened": camera.provision,
            "deploy: no other address than the camera's gives pictures": camera.elsewhere,
            "deploy: taken away, nothing is left": _take_away,
        }
        if not account.wants(_BUNDLE, _BELOW_A_FOLDER, _SET_UP, *on_device):
            return
        bundle, device = work / "bundles" / "made", list[BareDevice]()
        is_made = account.step(_BUNDLE, partial(_make_bundle, bundle), is_base=True)
        account.step(_BELOW_A_FOLDER, partial(_below_a_folder, work, bundle), needs=is_made, otherwise="no bundle")
        if not account.wants(_SET_UP, *on_device):
            return

        def set_up() -> str:
            bundles = {"bundle": bundle, **versions.made_of(bundle)}
            device.append(stack.enter_context(BareDevice(work / "bare", bundles)))
            return _from_bare_to_reporting(device[0], interruptions)

        is_possible = is_made and not reason
        is_set_up = account.step(_SET_UP, set_up, needs=is_possible, otherwise=reason or "no bundle", is_base=True)
        for name, step in on_device.items():
            action = partial(step, device[0]) if device else str
            account.step(name, action, needs=is_set_up, otherwise=reason or "no device was set up")


def _make_bundle(folder: Path) -> str:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        make_bundle(folder.parent).rename(folder)
    except BundleUnavailableError as error:
        raise DidNotRunError(f"no bundle can be made: {error}") from error
    return f"{len(list(folder.glob('wheels/*.whl')))} wheels"


def _below_a_folder(work: Path, bundle: Path) -> str:
    """tests/deploy."""
    bats = shutil.which("bats")
    if bats is None or os.geteuid() != 0:
        raise DidNotRunError("needs root, and the Debian package bats")
    scratch = work / "bats"
    scratch.mkdir()
    given = {"BUNDLE": str(bundle), "MODEL": str(make_model_folder(work / "model")), "TMPDIR": str(scratch)}
    command = [bats, str(ROOT / "tests/deploy")]
    done = subprocess.run(command, env=os.environ | given, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return f"{len(re.findall('^ok ', done.stdout, re.MULTILINE))} promises are kept"


def _from_bare_to_reporting(device: BareDevice, interruptions: int) -> str:
    """Install and provision with no network but the local broker, again, and after being killed."""
    device.boot()
    drill = Drill(device, _SEED)
    drill.set_up(interruptions)
    seen = drill.seen
    assert not seen.troubles, "\n".join(seen.troubles)
    (sheet,) = sheets(device)
    said = sheet.read_text()
    for each in ("ACCEPTED", "Main door, north side", "ok    broker"):
        assert each in said, said
    assert PASSWORD not in said, "the sheet tells the password"
    text = f"one pass took {seen.pass_s:.0f} s, {seen.reports} reports, a second run changed nothing"
    return f"{text}; right after {seen.interruptions} kills"


def _wrong_password(device: BareDevice) -> str:
    (device.root / "srv/wrong").write_text("wrong\n")
    device.answer(BROKER_PASSWORD_FILE="/srv/wrong", DEVICE_ID="another")
    before = device.tree(with_times=True)
    ended = device.script(*PROVISION)
    device.answer()
    assert ended.status == 1, ended.text
    assert "FAIL  broker" in ended.text, ended.text
    assert differences(before, device.tree(with_times=True)) == []
    assert device.is_active(), "the service runs on"
    return f"refused after {ended.seconds:.0f} s, nothing was changed"


def _take_away(device: BareDevice) -> str:
    device.take_away()
    left = device.tree(with_times=False)
    assert not left, f"left behind: {sorted(left)}"
    return "uninstalled with all that it knew"
