"""Forbids this process and its children to make sockets, for good: a filter of the kernel's (seccomp).

Netlink alone is left: it speaks with the kernel only, and libraries of accelerators look for USB devices by it. The
filter needs no privilege and no namespace, so it also works in a service that may make none. Sources: seccomp(2),
linux/filter.h, linux/seccomp.h, linux/audit.h; the numbers are those of the kernel's system call tables.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_NOT_BELOW, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FAMILY_AT = 0, 4, 16  # of struct seccomp_data, of a call socket(family, …)
_AF_NETLINK = 16
_ALLOW, _FAIL_EPERM = 0x7FFF0000, 0x00050000 | errno.EPERM
_IO_URING_SETUP = 425  # makes sockets too; the same number everywhere
_X32 = 0x40000000  # numbers from here on are those of a second system call table of x86-64


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int
    socket: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 41), "aarch64": _Machine(0xC00000B7, 198)}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def forbid_sockets() -> bool:
    """No socket but netlink can be made from now on; those that are open stay. Call it while there is one thread.

    False where the kernel or the processor does not have it: nothing has changed then, but that no new privileges are
    to be had.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None or ctypes.sizeof(ctypes.c_void_p) != 8:  # a 32-bit program has other numbers
        return False
    code = _filter(machine)
    program = _Program(len(code) // 8, code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return bool(prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter(machine: _Machine) -> bytes:
    """The program: one struct sock_filter a line, (code, lines to skip if so, if not, operand)."""
    lines = (
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 0, 7, machine.audit),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_NOT_BELOW, 5, 0, _X32),
        (_JUMP_EQUAL, 4, 0, _IO_URING_SETUP),
        (_JUMP_EQUAL, 0, 2, machine.socket),
        (_LOAD, 0, 0, _FAMILY_AT),
        (_JUMP_EQUAL, 0, 1, _AF_NETLINK),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL_EPERM),
    )
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
