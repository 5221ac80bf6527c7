"""Whoever sends updates: a device that follows signed commands, and the operator's real tool in front of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edgeapp.vision.golden import INPUT
from edgeapp.workshop.keyring import Keyring
from tests.fakes.fleet import ROOT
from tests.fakes.updating_device import NAME, UpdatingDevice
from tests.fakes.week.plan import RELEASES, Planned

DEVICE, _OPERATOR = "test-device", "anna"
_WAIT_S = 120


def spoil_golden(folder: Path) -> None:
    """The answers that the model gave where it was made were others than the ones it gives here."""
    path = folder / "golden.npz"
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name, values in arrays.items():
        if name != INPUT:
            arrays[name] = np.roll(values, 1, axis=-2)
    np.savez_compressed(path, **arrays)


class OperatorDesk:
    """The operator's folder: a key that the list of operators names, the signed repository, operator.yaml."""

    def __init__(self, folder: Path, device: UpdatingDevice, broker_port: int) -> None:
        folder.mkdir()
        self._folder, self._device = folder, device
        keyring = Keyring(folder / "keys")
        public = keyring.create(_OPERATOR)
        keyid = keyring.signer(_OPERATOR).public_key.keyid
        device.repository.set_operators({"name": _OPERATOR, "keyid": keyid, "public": public, "ops": ["install"]})
        content = {"mqtt": {"host": "127.0.0.1", "port": broker_port}}
        (folder / "operator.yaml").write_text(yaml.safe_dump(content))
        self._is_first = True

    def install(self, version: int, *, wait: bool = True) -> dict[str, Any]:
        """Order a release with `edgeapp-workshop command install`; the device's last event, {} without `wait`."""
        planned = RELEASES[version]
        if f"releases/{NAME}/{version}.json" not in self._device.repository.contents:
            self._publish(planned)
        options = {"--device": DEVICE, "--config": "operator.yaml", "--keys": "keys", "--repository": "repository"}
        words = ["command", "install", f"releases/{NAME}/{version}.json"]
        for option, value in options.items():
            words += [option, value if option == "--device" else str(self._folder / value)]
        words += ["--json", "--yes"]
        words += ["--seq", "1"] if self._is_first else []
        words += ["--wait", "--timeout", str(_WAIT_S)] if wait else []
        self._is_first = False
        command = [sys.executable, "-m", "edgeapp.workshop.cli", *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_WAIT_S + 60)
        if not done.stdout.strip():
            raise AssertionError(f"the operator's tool says nothing: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if "error" in found:
            raise AssertionError(f"the operator's tool: {found}")
        last: dict[str, Any] = found["devices"][DEVICE] if wait else {}
        return last or {}

    def _publish(self, planned: Planned) -> None:
        changes: dict[str, Any] = {"size_px": 480, "dtype": "float32"} if planned.fault == "slow" else {}
        if planned.fault == "golden":
            changes["spoil"] = spoil_golden
        self._device.release(planned.version, probation=planned.probation, **changes)
        self._device.repository.write(self._folder / "repository")
