"""A delegate as one argument of a command line, pure: its word, or a library as JSON."""

from __future__ import annotations

import dataclasses
import json

from edgeapp.config import Delegate, DelegateLibrary
from edgeapp.reader import read_json


def delegate_argument(delegate: Delegate) -> str:
    """What `read_delegate` reads."""
    return json.dumps(dataclasses.asdict(delegate)) if isinstance(delegate, DelegateLibrary) else delegate


def read_delegate(text: str) -> Delegate:
    """The delegate that an argument says.

    Raises:
        ConfigError: it is no word for one, and no library.
    """
    for word in ("auto", "xnnpack", "none"):
        if text == word:
            return word
    return read_json(DelegateLibrary, text, "--delegate")
