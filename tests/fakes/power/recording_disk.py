"""A disk that remembers every write and flush: one file behind /dev/fuse, for a loop device to stand on.

So the kernel's own ext4 works on a block device whose whole history is known. Needs root, /dev/fuse and loop devices.
The disk is served by a process of its own: however a test ends, that process ends after it, and the kernel then fails
what waits for the disk instead of waiting for ever. The structures are those of linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import select
import struct
import subprocess
import sys
from pathlib import Path

from tests.fakes.power.mounting import mount, unmount

Entry = tuple[int, bytes] | str | None  # a write, a mark, a flush

_IN_HEADER = struct.Struct("<IIQQIIII")  # len, opcode, unique, node, uid, gid, pid, padding
_OUT_HEADER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_FORGET, _BATCH_FORGET, _INIT, _LOOKUP, _OPEN, _READ, _WRITE, _FSYNC = 2, 42, 26, 1, 14, 15, 16, 20
_GETATTR, _SETATTR, _STATFS, _SILENT = 3, 4, 17, (18, 25, 29, 34, 38)  # release, flush, releasedir, access, destroy
_DIRECT_IO = 1
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_MAX_WRITE = 1 << 17
_FOLDER_MODE, _FILE_MODE = 0o040755, 0o100600
_NO_SUID_NO_DEVICES, _DETACH = 6, 2


class RecordingDisk:
    """`path` is the disk while the with block lasts."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder, self._size_bytes = folder, size_bytes
        self.path = folder / "disk"

    def __enter__(self) -> RecordingDisk:
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open("/dev/fuse", os.O_RDWR)
        try:
            options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0,allow_other"
            mount("recording", self._folder, "fuse", _NO_SUID_NO_DEVICES, options)
            self._server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(descriptor), str(self._size_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[descriptor],
            )
        finally:
            os.close(descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        unmount(self._folder, _DETACH)
        self._server.communicate()

    def mark(self, text: str) -> None:
        """Put a mark into the log; what has been flushed before it stands before it."""
        self._ask(f"{text}\n")

    def taken(self) -> tuple[bytes, list[Entry]]:
        """What the disk held when this was called for the last time, at first nothing, and the log since then."""
        before, log = pickle.loads(self._ask("\n"))
        return before, log

    def _ask(self, line: str) -> bytes:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(line.encode())
        self._server.stdin.flush()
        size = int(self._server.stdout.readline())
        return self._server.stdout.read(size)


class _Server:
    """Answers the kernel, and the process that started it: a line is a mark, an empty one asks for the log."""

    def __init__(self, descriptor: int, size_bytes: int) -> None:
        self._descriptor, self._size_bytes = descriptor, size_bytes
        self._data = bytearray(size_bytes)
        self._before, self._log = bytes(self._data), list[Entry]()

    def serve(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(0, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if not (self._talk() if descriptor == 0 else self._serve_kernel()):
                    return

    def _talk(self) -> bool:
        line = sys.stdin.buffer.readline()
        answer = b""
        if line.strip():
            self._log.append(line.decode().rstrip("\n"))
        elif line:
            answer = pickle.dumps((self._before, self._log))
            self._before, self._log = bytes(self._data), []
        if line:
            sys.stdout.buffer.write(b"%d\n" % len(answer) + answer)
            sys.stdout.buffer.flush()
        return bool(line)

    def _serve_kernel(self) -> bool:
        try:
            request = os.read(self._descriptor, _MAX_WRITE + 4096)
        except OSError as error:
            return error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT)  # else it is unmounted
        _, opcode, unique, node, *_ = _IN_HEADER.unpack_from(request)
        answer = self._answer(opcode, node, request[_IN_HEADER.size :])
        if answer is not None:
            failure, payload = (answer, b"") if isinstance(answer, int) else (0, answer)
            header = _OUT_HEADER.pack(_OUT_HEADER.size + len(payload), -failure, unique)
            with contextlib.suppress(FileNotFoundError):  # the request was interrupted
                os.write(self._descriptor, header + payload)
        return True

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes | int | None:
        """The payload, an errno, or None for no answer."""
        if opcode == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return bytes(self._data[offset : offset + size])
        if opcode == _WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            chunk = body[40 : 40 + size]
            self._data[offset : offset + size] = chunk
            self._log.append((offset, chunk))
            return struct.pack("<II", size, 0)
        if opcode == _FSYNC:
            self._log.append(None)
            return b""
        return self._answer_about(opcode, node, body)

    def _answer_about(self, opcode: int, node: int, body: bytes) -> bytes | int | None:
        if opcode == _INIT:
            _, _, readahead, flags = struct.unpack_from("<IIII", body)
            flags &= _BIG_WRITES | _MAX_PAGES
            pages = _MAX_WRITE // 4096
            return struct.pack("<IIIIHHIIHHI7I", 7, 31, readahead, flags, 16, 12, _MAX_WRITE, 1, pages, 0, 0, *[0] * 7)
        if opcode in (_GETATTR, _SETATTR):
            return struct.pack("<QII", 3600, 0, 0) + self._attributes(node)
        if opcode == _LOOKUP:
            if body.rstrip(b"\0") != b"disk":
                return errno.ENOENT
            return struct.pack("<QQQQII", 2, 0, 3600, 3600, 0, 0) + self._attributes(2)
        if opcode == _OPEN:
            return struct.pack("<QII", 1, _DIRECT_IO, 0)
        if opcode == _STATFS:
            return struct.pack("<QQQQQIIII6I", 1, 0, 0, 2, 0, 4096, 255, 4096, 0, *[0] * 6)
        if opcode in (_FORGET, _BATCH_FORGET):
            return None
        return b"" if opcode in _SILENT else errno.ENOSYS

    def _attributes(self, node: int) -> bytes:
        mode, size, links = (_FOLDER_MODE, 0, 2) if node == 1 else (_FILE_MODE, self._size_bytes, 1)
        return _ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


if __name__ == "__main__":
    _Server(int(sys.argv[1]), int(sys.argv[2])).serve()
