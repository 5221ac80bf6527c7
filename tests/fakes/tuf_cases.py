"""What a TUF client has to do, case by case, after the specification (https://theupdateframework.github.io/specification/).

The list of all cases, filled by importing them.
"""

from __future__ import annotations

from tests.fakes import tuf_cases_metadata, tuf_cases_targets  # noqa: F401
from tests.fakes.tuf_case import CASES, check

__all__ = ["CASES", "check"]
