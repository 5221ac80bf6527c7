"""Level 2 of the device test: what takes too long for every run, before a release.

docs/device-tests.md says what belongs here and does not exist yet; nothing stands in for it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from edgeapp.errors import FetchError
from edgeapp.workshop.demo_assets import default_cache
from tests.fakes.field import arm64
from tests.fakes.field.installed import why_not_installed
from tests.fakes.field.level0 import ON_A_DEVICE, bad_link, power_cuts, run_on_device
from tests.fakes.field.steps import Account, DidNotRunError, ToldStep
from tests.fakes.field.trees import Tree, debian_tree

PACKAGES = ("mmdebstrap", *arm64.PACKAGES)
_POWER: dict[str, ToldStep] = {
    "power: the store is killed at each of its calls": partial(power_cuts, kill_step=1),
    "power: 60 cuts while the store is at work": partial(power_cuts, cuts=60),
    "power: 10,000 crash states of the store": partial(power_cuts, states=10_000),
}
_SOAK: dict[str, ToldStep] = {"link: soak of 300 faults": partial(bad_link, kills=300, seconds=300.0)}
_RELEASE, _PYTHON_VERSION = "trixie", "3.13"


def run(account: Account, work: Path) -> None:
    """All steps of level 2 beyond level 1. The soak is beside others, since it does little but wait."""

    def work_through() -> None:
        _run_on_next_debian(account, work)
        account.told_steps(_POWER)

    account.side_by_side(work_through, partial(account.told_steps, _SOAK))
    arm64.run(account, work / "arm64")


def _run_on_next_debian(account: Account, work: Path) -> None:
    made: list[Tree] = []
    prepare, prefix = f"{_RELEASE}: a fresh Debian, and wheels for its Python", f"{_RELEASE}: "
    if not account.wants(prepare, *(f"{prefix}{name}" for name in ("boot", *ON_A_DEVICE))):
        return
    if account.step(prepare, partial(_make_tree, work, made), is_base=True):
        run_on_device(account, work, made[0], prefix)


def _make_tree(work: Path, made: list[Tree]) -> str:
    reason = why_not_installed(work)
    if reason:
        raise DidNotRunError(reason)
    try:
        made.append(debian_tree(_RELEASE, _PYTHON_VERSION, default_cache()))
    except FetchError as error:
        raise DidNotRunError(str(error)) from error
    return f"Python {_PYTHON_VERSION}"
