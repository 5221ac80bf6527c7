"""The deployment scripts, for real: from a bare Debian to a reporting device, and back."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.field.bare_device import BareDevice, BundleUnavailableError, make_bundle
from tests.fakes.field.provision_drill import drill
from tests.fakes.field.steps import DidNotRunError

_SEED = 7


def from_bare_to_reporting(work: Path, interruptions: int) -> str:
    """Install and provision with no network but the local broker, again, and after being killed; then uninstall."""
    folder = work / "bundle"
    folder.mkdir(parents=True)
    try:
        bundle = make_bundle(folder)
    except BundleUnavailableError as error:
        raise DidNotRunError(f"no bundle can be made: {error}") from error
    with BareDevice(work / "bare", {"bundle": bundle}) as device:
        device.boot()
        seen = drill(device, interruptions, _SEED)
        assert not seen.troubles, "\n".join(seen.troubles)
        device.take_away()
        left = device.tree(with_times=False)
        assert not left, f"left behind: {sorted(left)}"
    text = f"one pass took {seen.pass_s:.0f} s, {seen.reports} reports, a second run changed nothing"
    return f"{text}; right after {seen.interruptions} kills; nothing left"
