"""Level 0 of the device test: what can be shown in minutes, on any machine where systemd-nspawn runs.

Owns the order of the steps: the units and their sandboxes, a device that works, what must stay secret, what breaks and
mends, clocks and updates; beside them deployment; then a day, bad links and power cuts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from edgeapp.workshop.progress import Progress
from tests.fakes.field import deployment, faults, secrecy, units
from tests.fakes.field.installation import ROOT
from tests.fakes.field.installed import InstalledDevice, why_not_installed
from tests.fakes.field.steps import Account, DidNotRunError, ToldStep
from tests.fakes.field.trees import Tree
from tests.fakes.progress import read

_SCRIPT_LIMIT_S = 3600
_SAID_LINES = 20
Step = Callable[[InstalledDevice], str]

ON_A_DEVICE: dict[str, Step] = {
    "units: verify says nothing": units.verify,
    "units: exposure at most 1.5": units.exposure,
    "units: memory limits and no start limit": units.limits,
    "works: infers and reports, with a password from a credential": units.works,
    "sandbox: vision makes no socket but Unix ones, writes nothing, may open the camera": units.vision_sandbox,
    "sandbox: vision with a network camera reaches its address alone": units.network_camera,
    "sandbox: control opens no camera, writes only its state": units.control_sandbox,
    "sandbox: the self-test runs in control's, without network": units.self_test_sandbox,
    "secrets: not readable by others, not in journal, status or environment": secrecy.credentials,
    "secrets: a port scan finds nothing open": secrecy.port_scan,
    "fault: vision SIGSEGV, control lives with its open windows": faults.vision_dies,
    "fault: vision SIGSTOP, ended by its watchdog": faults.vision_stopped,
    "fault: the camera hangs in its driver": partial(faults.vision_hangs, "read"),
    "fault: a library keeps the interpreter lock": partial(faults.vision_hangs, "lock"),
    "fault: vision out of memory, control lives": faults.vision_out_of_memory,
    "fault: control hangs, started again by its watchdog": faults.control_hangs,
    "reload: a new rate, without a restart": faults.reload,
    "configuration error: ends with 78 and is not started again": faults.configuration_error,
    "journal: fields and message ids": secrecy.journal_fields,
    "update: a new release is tested, tried and committed": faults.update,
    "clock: stale at boot, nothing released and no update until it is right": faults.stale_clock,
    "power: first process killed, boots again and reports": faults.killed_and_booted,
    "stop: in order and prompt": faults.stop,
}


def run(account: Account, work: Path) -> None:
    """All steps of level 0, in two tracks beside each other: most of the time devices are waited for."""
    reason = why_not_installed(work)

    def installed() -> None:
        if reason:
            for name in ("boot", *ON_A_DEVICE):
                account.step(name, lambda: "", needs=False, otherwise=reason)
        else:
            run_on_device(account, work)
        account.told_steps(_SHORT_RUNS)

    def deployed() -> None:
        deployment.run(account, work, reason, interruptions=2)
        account.step("day: one in fast motion, all of it accounted for", day)

    account.side_by_side(installed, deployed)


def run_on_device(account: Account, work: Path, tree: Tree | None = None, prefix: str = "") -> None:
    """The steps on a device, on another tree than this machine's where one is given; `prefix` for their names."""
    if not account.wants(*(f"{prefix}{name}" for name in ("boot", *ON_A_DEVICE))):
        return
    device = InstalledDevice(work / "device", tree)
    with ExitStack() as stack:

        def boot() -> str:
            return f"systemd is up after {stack.enter_context(device).boot():.1f} s"

        is_up = account.step(f"{prefix}boot", boot, is_base=True)
        for name, step in ON_A_DEVICE.items():
            account.step(f"{prefix}{name}", partial(step, device), needs=is_up, otherwise="the device did not boot")


def day() -> str:
    """tests/device, which the everyday tests leave out for its time."""
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "tests/device"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SCRIPT_LIMIT_S)
    assert done.returncode == 0, done.stdout[-4000:]
    said = done.stdout.splitlines()[-1].strip("= ")
    if "passed" not in said:
        raise DidNotRunError(done.stdout[-400:])
    return said


def bad_link(tell: Progress, *, kills: int, seconds: float) -> str:
    """Daemon, broker and link are killed and hurt, with pauses of `seconds` in sum."""
    found = run_script(tell, "message-torture", "--kills", str(kills), "--seconds", str(seconds))
    runs = found["runs"]
    assert all(one["lost"] == 0 for one in runs), found
    return f"{sum(one['sent'] for one in runs)} reports, none lost"


def power_cuts(tell: Progress, *, cuts: int = 0, states: int = 0, kill_step: int = 0) -> str:
    """The store of updates, cut off in the ways whose number is not 0; and broken stores that have to be caught."""
    numbers = ("--cuts", str(cuts), "--states", str(states), "--kill-step", str(kill_step))
    found = run_script(tell, "power-cuts", *numbers)
    if found["did_not_run"]:
        raise DidNotRunError("; ".join(found["did_not_run"]))
    assert found["lost"] == found["bad"] == 0, found
    assert not found["controls_missed"], found
    counts = {"kills": found["kills"], "cuts": found["cuts"], "states": found["states"]}
    tried = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"{tried}, none lost or bad; {found['controls_caught']} broken stores caught"


def run_script(tell: Progress, name: str, *arguments: str) -> dict[str, Any]:
    """The last line that a script of this checkout prints with --json, when it is told how far that is."""
    command = [sys.executable, str(ROOT / "scripts" / name), *arguments, "--json", "--progress", "lines"]
    said: deque[str] = deque(maxlen=_SAID_LINES)
    with (
        tempfile.TemporaryFile("w+") as printed,
        subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True) as process,
    ):
        limit = threading.Timer(_SCRIPT_LIMIT_S, process.kill)
        limit.start()
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if (progress := read(line)) is None:
                    said.append(line)
                else:
                    tell(*progress)
            process.wait()
        finally:
            limit.cancel()
        printed.seek(0)
        lines = printed.read().splitlines()
    assert lines, f"{name} ended with {process.returncode}: {''.join(said)}"
    found: dict[str, Any] = json.loads(lines[-1])
    return found


_SHORT_RUNS: dict[str, ToldStep] = {
    "link: no report lost over a bad link": partial(bad_link, kills=12, seconds=6.0),
    "power: kills, cuts and crash states of the store": partial(power_cuts, cuts=10, states=100, kill_step=25),
}
