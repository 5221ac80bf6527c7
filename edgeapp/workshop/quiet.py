"""Keeps the libraries' bars, warnings and native log lines off the terminal.

They have no switch for it: a progress bar comes with more than a hundred operators, and the runtime's native code
writes straight to file descriptor 2.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def libraries_silenced() -> Iterator[None]:
    """Drop what is written to standard error meanwhile, by Python or by native code.

    It is the whole process's standard error, so that of every thread is dropped: keep the block short.
    """
    with warnings.catch_warnings(), tempfile.TemporaryFile("w+") as drain, contextlib.redirect_stderr(drain):
        warnings.simplefilter("ignore")
        real = os.dup(2)
        try:
            os.dup2(drain.fileno(), 2)
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
