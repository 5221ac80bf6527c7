"""The deployment scripts: below a folder (bats), and in a device with a real systemd and no network but a broker."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.field.bare_device import (
    INSTALL,
    PROVISION,
    BareDevice,
    BundleUnavailableError,
    differences,
    make_bundle,
    variant,
)
from tests.fakes.field.installed import ROOT
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.nspawn import why_not
from tests.fakes.field.provision_drill import Drill, sheets
from tests.fakes.tiny_models import make_model_folder

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0 or platform.system() != "Linux", reason="needs root"),
]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return make_bundle(tmp_path_factory.mktemp("bundle"))
    except BundleUnavailableError as error:
        pytest.skip(f"no bundle can be made: {error}")


def test_the_scripts_keep_their_promises_below_a_folder(bundle: Path, tmp_path: Path) -> None:
    bats = shutil.which("bats")
    if bats is None:
        pytest.skip("needs the Debian package bats")
    environment = {
        **os.environ,
        "BUNDLE": str(bundle),
        "OLDER": str(variant(bundle, "0.0.9")),
        "MODEL": str(make_model_folder(tmp_path / "model")),
        "TMPDIR": str(tmp_path),
    }
    done = subprocess.run(
        [bats, str(ROOT / "tests/deploy")], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def device(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareDevice]:
    folder = tmp_path_factory.mktemp("device")
    reason = why_not(folder)
    if reason:
        pytest.skip(reason)
    bundles = {
        "bundle": bundle,
        "good": variant(bundle, "0.2.0"),
        "bad": variant(bundle, "0.3.0", daemon="def run(*_):\n    raise SystemExit(1)"),
    }
    with BareDevice(folder / folder.parent.name / "device", bundles) as booted:
        booted.boot()
        yield booted


def test_one_pass_from_a_bare_system_reports_and_a_second_changes_nothing(device: BareDevice) -> None:
    drill = Drill(device, seed=5)
    drill.set_up(interruptions=0)  # the device test interrupts it
    assert drill.seen.troubles == []
    assert drill.seen.reports >= 1
    (sheet,) = sheets(device)
    text = sheet.read_text()
    assert "ACCEPTED" in text
    assert "Main door, north side" in text
    assert "ok    broker" in text
    assert PASSWORD not in text


def test_a_wrong_password_is_found_before_anything_is_written(device: BareDevice) -> None:
    (device.root / "srv/wrong").write_text("wrong\n")
    device.answer(BROKER_PASSWORD_FILE="/srv/wrong", DEVICE_ID="another")
    before = device.tree(with_times=True)
    ended = device.script(*PROVISION)
    device.answer()
    assert ended.status == 1
    assert "FAIL  broker" in ended.text
    assert differences(before, device.tree(with_times=True)) == []
    assert device.is_active()


def test_a_new_version_takes_over_and_a_bad_one_gives_way_to_it(device: BareDevice) -> None:
    current = device.root / "opt/edgeapp/current"
    good = device.script("/srv/good/deploy/install.sh")
    assert good.status == 0, good.text
    assert str(current.readlink()).startswith("versions/0.2.0-")
    bad = device.script("/srv/bad/deploy/install.sh", "--wait-s", "15")
    assert bad.status == 1
    assert "0.3.0" in bad.text
    assert "runs again" in bad.text
    assert (device.root / "opt/edgeapp/previous").readlink() == current.readlink()
    assert str(current.readlink()).startswith("versions/0.2.0-")
    assert device.is_active()
    assert device.running_version() == "0.2.0"


def test_an_older_version_is_taken_only_where_that_is_meant(device: BareDevice) -> None:
    refused = device.script(*INSTALL)
    assert refused.status == 1
    assert "--downgrade" in refused.text
    taken = device.script(*INSTALL, "--downgrade")
    assert taken.status == 0, taken.text
    assert device.running_version() == "0.1.0"
