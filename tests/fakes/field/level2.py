"""Level 2 of the device test: what takes too long for every run, before a release.

docs/device-tests.md says what belongs here and does not exist yet; nothing stands in for it.
"""

from __future__ import annotations

from functools import partial

from tests.fakes.field.level0 import bad_link, power_cuts
from tests.fakes.field.steps import Account


def run(account: Account) -> None:
    """All steps of level 2 beyond level 1."""
    account.step("power: 10,000 crash states of the store", partial(power_cuts, 200, 10_000, 1))
    account.step("link: soak over a bad link", partial(bad_link, 300, 300.0))
