"""Mounts and loop devices by system call, so that one costs a millisecond and not a process."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _LOOP_CLR_FD = 0x4C82, 0x4C0A, 0x4C01
_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
_TRIES = 200
_SMALL_BYTES = 2 << 20


def mount(device: str, folder: Path, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    if _LIBC.mount(device.encode(), str(folder).encode(), kind.encode(), flags, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), device)


def unmount(folder: Path, flags: int = 0) -> None:
    """umount2(2). Raises OSError."""
    if _LIBC.umount2(str(folder).encode(), flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """A loop device on an image."""
    backing = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        name, device = _configure(control, backing)
    finally:
        os.close(control)
        os.close(backing)
    try:
        yield name
    finally:
        fcntl.ioctl(device, _LOOP_CLR_FD)
        os.close(device)


def _configure(control: int, backing: int) -> tuple[str, int]:
    for _ in range(_TRIES):
        name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
        device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, struct.pack("<II", backing, 512) + bytes(296))
        except OSError:  # another process was faster
            os.close(device)
            time.sleep(0.01)
        else:
            return name, device
    raise OSError("no loop device is free")


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[None]:
    """An image of ext4, mounted for the with block."""
    with loop_device(image) as device, mounted_device(device, folder):
        yield


@contextmanager
def mounted_device(device: str, folder: Path) -> Iterator[None]:
    """A device with ext4, mounted for the with block."""
    folder.mkdir(parents=True, exist_ok=True)
    mount(device, folder, "ext4")
    try:
        yield
    finally:
        _unmount_patiently(folder)


def _unmount_patiently(folder: Path) -> None:
    """Unmount; a process that was killed a moment ago may still hold a file."""
    for _ in range(_TRIES):
        with suppress(OSError):
            unmount(folder)
            return
        time.sleep(0.01)
    unmount(folder)


def make_ext4(path: str | Path) -> None:
    """An empty ext4 on a device or an image."""
    options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    subprocess.run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", options, str(path)], check=True, capture_output=True)


def why_not(work: Path) -> str:
    """Why power cuts cannot be tried on this machine; empty where they can."""
    if shutil.which("mkfs.ext4") is None:
        return "mkfs.ext4 was not found (Debian: e2fsprogs)"
    work.mkdir(parents=True, exist_ok=True)
    image = work / "try.img"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
        with image.open("wb") as file:
            file.truncate(_SMALL_BYTES)
        make_ext4(image)
        with mounted(image, work / "try"):
            cut_power(work / "try")
    except OSError as error:
        return f"it needs root, /dev/fuse and a loop device: {error}"
    finally:
        image.unlink(missing_ok=True)
    return ""


def cut_power(folder: Path) -> None:
    """Stop a mounted ext4 at once: what it has not written yet never will be, its journal included."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
    finally:
        os.close(descriptor)
