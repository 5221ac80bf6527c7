"""The deployment scripts on aarch64: a bundle for it, a bare arm64 Debian, no network but a broker, no systemd.

Programs run under qemu-user, so what systemd and a kernel do with the units is not tried here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeapp.errors import FetchError
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.device import telemetry
from tests.fakes.field import foreign_tree as trees
from tests.fakes.field.arm64_site import Site
from tests.fakes.field.bare_device import (
    ANSWERS,
    INSTALL,
    PROVISION,
    BundleUnavailableError,
    Listing,
    answers,
    bring,
    differences,
    make_bundle,
    owned_by_scripts,
    run_script,
)
from tests.fakes.field.foreign_tree import foreign_tree
from tests.fakes.field.installation import CONFIG, ROOT
from tests.fakes.field.keepers import Keepers
from tests.fakes.field.networked import PASSWORD
from tests.fakes.field.nspawn import why_not
from tests.fakes.field.reached import CONTROL, VISION
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.user_mode import UserModeDebian, static_qemu
from tests.fakes.subscriber import Received, Subscriber
from tests.fakes.updating_device import UpdatingDevice

PACKAGES = (*trees.HOST_PACKAGES, "util-linux")
_CPU, _RELEASE, _PYTHON = "cortex-a72", "bookworm", "3.11"
_PASS_LIMIT_S, _REPORT_LIMIT_S = 1200.0, 180.0
_SHEETS = "var/lib/edgeapp/acceptance"
_PREPARE = "arm: a bare Debian and a bundle for it"
_PASS = "arm: install and provision in one pass, a second run changes nothing"
_REPORT = "arm: what was provisioned reports over TLS"


@dataclass(frozen=True, slots=True)
class _Provisioned:
    """The tree on which the scripts run, and the broker that it is to report to."""

    debian: UserModeDebian
    site: Site


def run(account: Account, work: Path) -> None:
    """All steps, each of which builds on the one before."""
    if not account.wants(_PREPARE, _PASS, _REPORT):
        return
    made: list[_Provisioned] = []
    with ExitStack() as stack:
        is_possible = account.step(_PREPARE, partial(_prepare, work, stack, made), is_base=True)
        is_set_up = account.step(
            _PASS, lambda: _one_pass(made[0]), needs=is_possible, otherwise="there is no bundle for it", is_base=True
        )
        account.step(_REPORT, lambda: _reports(made[0]), needs=is_set_up, otherwise="nothing was provisioned")


def _prepare(work: Path, stack: ExitStack, made: list[_Provisioned]) -> str:
    reason = why_not(work)
    if reason:
        raise DidNotRunError(reason)
    try:
        bundle = make_bundle(work, machine="aarch64", python=_PYTHON)
        tree, qemu = foreign_tree("arm64", _RELEASE, default_cache()), static_qemu(default_cache())
    except (BundleUnavailableError, FetchError) as error:
        raise DidNotRunError(str(error)) from error
    technician, keepers = UpdatingDevice(work / "made", port=0), Keepers(work / "keepers")
    site = stack.enter_context(Site(work / "site", keepers.broker_options))
    debian = stack.enter_context(UserModeDebian(work / "debian", tree, qemu, _CPU, site.prefix))
    shutil.copytree(bundle, debian.root / "srv/bundle")
    bring(debian.root, technician, keepers)
    (debian.root / ANSWERS[1:]).write_text(answers(site.broker.port))
    made.append(_Provisioned(debian, site))
    return f"{_RELEASE} with Python {_PYTHON} on {_CPU}, {bundle.name}"


def _one_pass(made: _Provisioned) -> str:
    """Both scripts, and both again."""
    took_s = [_run(made.debian, *script) for script in (INSTALL, PROVISION)]
    (sheet,) = (made.debian.root / _SHEETS).glob("acceptance-*.txt")
    said = sheet.read_text()
    for each in ("ACCEPTED", "aarch64", "ok    runtime", "ok    model", "ok    camera", "ok    broker"):
        assert each in said, said
    assert PASSWORD not in said, "the sheet tells the password"
    before = _owned(made.debian)
    for script in (INSTALL, PROVISION):
        _run(made.debian, *script)
    changed = differences(before, _owned(made.debian))
    assert not changed, f"a second run changed {list(changed)[:5]}"
    (verdict,) = re.findall(r"^verdict +(.*)$", said, re.MULTILINE)
    return f"installed in {took_s[0]:.0f} s, provisioned in {took_s[1]:.0f} s: {verdict}; a second run changed nothing"


def _run(debian: UserModeDebian, *script: str) -> float:
    """Run a script, which must succeed; the seconds that it took."""
    ended = run_script(*debian.command(*script), limit_s=_PASS_LIMIT_S)
    assert ended.status == 0, f"{' '.join(script)}: expected status 0, found {ended.status}:\n{ended.text}"
    return ended.seconds


def _owned(debian: UserModeDebian) -> Listing:
    return owned_by_scripts(debian.root, with_times=True)


def _reports(made: _Provisioned) -> str:
    """What the units start, started as root, until it has reported."""
    debian, config = made.debian, f"/{CONFIG}"
    change = f"/usr/local/bin/edgeapp configure {config} telemetry.window_s=5 >/tmp/new && cat /tmp/new >{config}"
    subprocess.run(debian.command("bash", "-c", change), check=True, capture_output=True, text=True)
    unix_socket = made.site.broker.unix_socket
    with ExitStack() as stack, Subscriber(unix_socket, "edgeapp/v1/#", login=("edgeapp", PASSWORD)) as subscriber:
        for unit in (VISION, CONTROL):
            with (debian.root / f"tmp/{unit}.log").open("wb") as log:
                started = subprocess.Popen(debian.command(*_start_of(unit)), stdout=log, stderr=log)
            stack.callback(started.wait)
            stack.callback(started.kill)
        try:
            messages = subscriber.wait(lambda got: len(_whole(got)) >= 1, "a report", _REPORT_LIMIT_S)
        except AssertionError as error:
            logs = [(debian.root / f"tmp/{unit}.log").read_text()[-1000:] for unit in (VISION, CONTROL)]
            raise AssertionError("\n".join((str(error), *logs))) from None
    report = _whole(messages)[0]
    delegate = report["model"]["delegate"]
    return f"{report['inf']['n']} frames in a report, {report['model']['runtime']} with {delegate['name']}"


def _start_of(unit: str) -> list[str]:
    """The command that a shipped unit starts."""
    (command,) = re.findall(r"^ExecStart=(.*)$", (ROOT / "systemd" / unit).read_text(), re.MULTILINE)
    return str(command).split()


def _whole(messages: list[Received]) -> list[dict[str, Any]]:
    """The reports on whole windows in which something was inferred."""
    return [report for report in telemetry(messages) if report["win"]["complete"] and report["inf"]["n"] > 0]
