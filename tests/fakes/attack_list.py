"""All attacks and faults, in the order of the table. A new module of them is named here."""

from tests.fakes import (
    attacks_on_commands,
    attacks_on_metadata,
    attacks_on_models,
    attacks_on_releases,
    tampering,
)
from tests.fakes.attacks import ATTACKS, FAULTS

__all__ = [
    "ATTACKS",
    "FAULTS",
    "attacks_on_commands",
    "attacks_on_metadata",
    "attacks_on_models",
    "attacks_on_releases",
    "tampering",
]
