"""Something to happen around every call that changes a file: a kill, an error, a commit of the journal."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

NAMES = ("open", "write", "fsync", "replace", "link", "unlink", "mkdir", "rmdir")

_REAL_FSYNC = os.fsync  # a broken store may have taken the other one away

Hook = Callable[[str, tuple[Any, ...]], object]


def nothing(_name: str, _arguments: tuple[Any, ...]) -> None:
    """A hook that does nothing."""


@contextmanager
def around_file_calls(*, before: Hook = nothing, after: Hook = nothing) -> Iterator[None]:
    """Call the hooks around every such call of this thread; those that a hook makes itself are left alone."""
    is_busy, thread = False, threading.get_ident()

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def run(hook: Hook, arguments: tuple[Any, ...]) -> None:
            nonlocal is_busy
            is_busy = True
            try:
                hook(name, arguments)
            finally:
                is_busy = False

        def call(*arguments: Any, **options: Any) -> Any:
            if is_busy or threading.get_ident() != thread:
                return real(*arguments, **options)
            run(before, arguments)
            result = real(*arguments, **options)
            run(after, arguments)
            return result

        return call

    with ExitStack() as stack:
        for name in NAMES:
            stack.enter_context(mock.patch.object(os, name, wrapped(name, getattr(os, name))))
        yield


def commit_journal(folder: str) -> Hook:
    """A hook that has the file system commit its journal, as another program's fsync could at any moment.

    Data is not written back by it, so a missing fsync is not hidden. Without it, windows of microseconds go unseen.
    """
    count = 0

    def hook(_name: str, _arguments: tuple[Any, ...]) -> None:
        nonlocal count
        count += 1
        os.close(os.open(f"{folder}/{count}", os.O_CREAT | os.O_WRONLY))
        descriptor = os.open(folder, os.O_RDONLY)
        _REAL_FSYNC(descriptor)
        os.close(descriptor)

    return hook
