"""HTTP as updates use it, for metadata and for blobs: one GET, bounded in time however slowly the server talks.

Owns the codes of what goes wrong. What comes is not believed, and bounded in size by who asks. Redirections are
followed a few times, as buckets need it.
"""

from __future__ import annotations

import contextlib
import math
import time
import urllib.parse
from collections.abc import Iterator

from edgeapp.system import timed_http
from edgeapp.updates.codes import Code, UpdateError

_WAIT_S = 20.0  # for the head of an answer, and for each piece of its body
_MOST_REDIRECTIONS = 3
_MOVED = frozenset({301, 302, 303, 307, 308})


@contextlib.contextmanager
def get(url: str, *, start: int = 0, deadline_s: float = math.inf) -> Iterator[timed_http.Answer]:
    """Ask for an address, from the byte `start` on; all is over at `deadline_s` (time.monotonic).

    Raises:
        UpdateError: E_NET, E_HTTP (too many redirections) or E_DEADLINE; also while the chunks are read.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        for _ in range(_MOST_REDIRECTIONS + 1):
            with timed_http.ask("GET", url, wait_s=_WAIT_S, deadline_s=deadline_s, headers=headers) as answer:
                location = answer.headers.get("Location") if answer.status in _MOVED else None
                if location is None:
                    yield answer
                    return
                url = urllib.parse.urljoin(url, location)
        raise UpdateError(Code.E_HTTP, f"expected at most {_MOST_REDIRECTIONS} redirections, found more")
    except timed_http.FAILURES as error:
        if time.monotonic() >= deadline_s:
            raise UpdateError(Code.E_DEADLINE, "expected an end in time, found none") from error
        is_late = isinstance(error, TimeoutError)
        text = f"no answer within {_WAIT_S:.0f} s" if is_late else f"{type(error).__name__}: {error}"
        raise UpdateError(Code.E_NET, text) from error
