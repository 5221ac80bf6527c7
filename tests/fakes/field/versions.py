"""Other versions on a device that was set up: which one runs in the end."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.field.bare_device import INSTALL, BareDevice, variant

_WAIT_S = 15


def made_of(bundle: Path) -> dict[str, Path]:
    """Beside a bundle, newer ones by their names: a good one, and one whose daemon ends at once."""
    return {
        "good": variant(bundle, "0.2.0"),
        "bad": variant(bundle, "0.3.0", daemon="def run(*_):\n    raise SystemExit(1)"),
    }


def new_and_bad(device: BareDevice) -> str:
    good = device.script("/srv/good/deploy/install.sh")
    assert good.status == 0, good.text
    taken = _linked(device, "current")
    assert taken.startswith("versions/0.2.0-"), taken
    bad = device.script("/srv/bad/deploy/install.sh", "--wait-s", str(_WAIT_S))
    assert bad.status == 1, bad.text
    for each in ("0.3.0", "runs again"):
        assert each in bad.text, bad.text
    assert (_linked(device, "current"), _linked(device, "previous")) == (taken, taken)
    assert device.is_active(), "the service runs on"
    assert device.running_version() == "0.2.0", device.running_version()
    return f"0.2.0 runs after {good.seconds:.0f} s, and again {bad.seconds:.0f} s after 0.3.0 came"


def older(device: BareDevice) -> str:
    newer = _linked(device, "current")
    refused = device.script(*INSTALL)
    assert refused.status == 1, refused.text
    assert "--downgrade" in refused.text, refused.text
    assert _linked(device, "current") == newer, "refused, and nothing was switched"
    taken = device.script(*INSTALL, "--downgrade")
    assert taken.status == 0, taken.text
    assert device.running_version() == "0.1.0", device.running_version()
    assert _linked(device, "previous") == newer, "the version before is kept"
    return f"refused, and with --downgrade it runs after {taken.seconds:.0f} s"


def _linked(device: BareDevice, name: str) -> str:
    return str((device.root / "opt/edgeapp" / name).readlink())
