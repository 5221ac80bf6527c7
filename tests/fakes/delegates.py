"""Delegate libraries, built from shim_delegate.c: one that takes every RESHAPE, and its misbehaviours."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from edgeapp.config import DelegateLibrary

_SOURCE = Path(__file__).with_name("shim_delegate.c")
_FLAGS = ("-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")


@functools.cache
def _built() -> tuple[tempfile.TemporaryDirectory[str], Path, Path]:
    folder = tempfile.TemporaryDirectory(prefix="edgeapp-delegates-")  # goes with this process
    shim, other = Path(folder.name) / "libshim.so", Path(folder.name) / "libother.so"
    subprocess.run(["cc", *_FLAGS, "-o", shim, _SOURCE], check=True)
    subprocess.run(["cc", *_FLAGS, "-x", "c", "-o", other, "-"], input=b"int nothing_of_a_delegate;", check=True)
    return folder, shim, other


def shim(behaviour: str = "take", *, invokes: int = 0, node: int = 0) -> DelegateLibrary:
    """The shim, told what to do.

    take: every RESHAPE, which it computes. take_none. refuse: with a reason. crash_create, crash_prepare, crash_invoke:
    SIGSEGV. crash_later: the same after so many `invokes`. fail_prepare, fail_invoke: an error. wrong: false numbers.
    hang: for ever, in its first invoke. noise: the operator number `node`, whatever it is, with noise for an answer.
    """
    options = {"behaviour": behaviour, "invokes": str(invokes), "node": str(node)}
    return DelegateLibrary(library=str(_built()[1]), options=options)


def no_delegate() -> DelegateLibrary:
    """A library that is none of a delegate's."""
    return DelegateLibrary(library=str(_built()[2]))
