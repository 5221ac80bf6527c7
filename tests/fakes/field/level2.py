"""Level 2 of the device test: what takes too long for every run, before a release.

docs/device-tests.md says what belongs here and does not exist yet; nothing stands in for it.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.field.installed import why_not_installed
from tests.fakes.field.level0 import bad_link, power_cuts, run_on_device
from tests.fakes.field.steps import Account, DidNotRunError
from tests.fakes.field.trees import Tree, debian_tree

PACKAGES = ("mmdebstrap",)
_RELEASE, _PYTHON_VERSION = "trixie", "3.13"


def run(account: Account, work: Path) -> None:
    """All steps of level 2 beyond level 1."""
    made: list[Tree] = []
    if account.step(f"{_RELEASE}: a fresh Debian, and wheels for its Python", partial(_make_tree, work, made)):
        run_on_device(account, work, made[0], f"{_RELEASE}: ")
    account.step("power: 10,000 crash states of the store", partial(power_cuts, 200, 10_000, 1))
    account.step("link: soak over a bad link", partial(bad_link, 300, 300.0))


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
