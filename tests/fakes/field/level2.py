"""Level 2 of the device test: what takes too long for every run, before a release.

docs/device-tests.md says what belongs here and does not exist yet; nothing stands in for it.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.field import arm64
from tests.fakes.field.installed import why_not_installed
from tests.fakes.field.level0 import ON_A_DEVICE, bad_link, power_cuts, run_on_device
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.trees import Tree, debian_tree

PACKAGES = ("mmdebstrap", *arm64.PACKAGES)
_RELEASE, _PYTHON_VERSION = "trixie", "3.13"


def run(account: Account, work: Path) -> None:
    """All steps of level 2 beyond level 1."""
    _run_on_next_debian(account, work)
    arm64.run(account, work / "arm64")
    account.step("power: 10,000 crash states of the store", partial(power_cuts, 60, 10_000, 1))
    account.step("link: soak over a bad link", partial(bad_link, 300, 300.0))


def _run_on_next_debian(account: Account, work: Path) -> None:
    made: list[Tree] = []
    prepare, prefix = f"{_RELEASE}: a fresh Debian, and wheels for its Python", f"{_RELEASE}: "
    if not account.wants(prepare, *(f"{prefix}{name}" for name in ("boot", *ON_A_DEVICE))):
        return
    if account.step(prepare, partial(_make_tree, work, made), is_base=True):
        run_on_device(account, work, made[0], prefix)


def _make_tree(work: Path, made: list[Tree]) -> str:
    reason = why_not_installed(work)
    if not reason and shutil.which("mmdebstrap") is None:
        reason = "needs mmdebstrap: install the Debian package of that name"
    if reason:
        raise DidNotRunError(reason)
    try:
        made.append(debian_tree(_RELEASE, _PYTHON_VERSION, default_cache()))
    except FetchError as error:
        raise DidNotRunError(str(error)) from error
    return f"Python {_PYTHON_VERSION}"
