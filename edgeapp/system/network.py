"""How a process gives up the network for good."""

from __future__ import annotations

import ctypes

from edgeapp.system import seccomp

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


def leave_network() -> bool:
    """Make no more sockets, or else move into an empty network namespace. Call it while there is one thread.

    False: the kernel allows neither.
    """
    if seccomp.forbid_sockets():
        return True
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    return any(unshare(flags) == 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))
