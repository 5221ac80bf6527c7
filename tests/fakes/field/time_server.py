"""A time server of our own: it answers a device's time service with this machine's time and an offset.

    python -m tests.fakes.field.time_server [--offset-s N] [--port N]

Speaks as much of SNTP as a client needs to set its clock by (RFC 4330; the message is in section 4), on loopback alone.
The offset lets a test have a device's clock stand shortly before the end of a window.
"""

from __future__ import annotations

import argparse
import socket
import struct
import time

NTP_PORT = 123
_NTP_EPOCH_S = 2_208_988_800  # from 1900, where NTP begins to count, to 1970
_MESSAGE = struct.Struct("!BBbb11I")
_VERSION_SHIFT, _SERVER = 3, 4
_STRATUM, _PRECISION = 1, -20  # a clock of its own, read to a millionth of a second
_SHORT = 1 << 10  # 1/64 s as root delay and dispersion are told: 16 bits behind the point
_REFERENCE = int.from_bytes(b"LOCL", "big")


def answer(request: bytes, received_s: float, sent_s: float) -> bytes | None:
    """The answer to a client's message; None where it is none. Times are seconds since 1970-01-01 UTC."""
    if len(request) < _MESSAGE.size:
        return None
    version = request[0] >> _VERSION_SHIFT & 0b111
    client_sent = struct.unpack_from("!2I", request, 40)
    head = version << _VERSION_SHIFT | _SERVER  # without a warning of a leap second
    times = (*_timestamp(received_s), *client_sent, *_timestamp(received_s), *_timestamp(sent_s))
    return _MESSAGE.pack(head, _STRATUM, request[2] & 0x7F, _PRECISION, _SHORT, _SHORT, _REFERENCE, *times)


def _timestamp(time_s: float) -> tuple[int, int]:
    whole, part = divmod(time_s + _NTP_EPOCH_S, 1.0)
    return int(whole) & 0xFFFFFFFF, int(part * 2**32)


def serve(port: int, offset_s: float) -> None:
    """Answer until the process is killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", port))
        while True:
            request, client = server.recvfrom(512)
            now_s = time.time() + offset_s
            reply = answer(request, now_s, time.time() + offset_s)
            if reply is not None:
                server.sendto(reply, client)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="time_server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--offset-s", type=float, default=0.0, help="what is added to this machine's time (default 0)")
    parser.add_argument("--port", type=int, default=NTP_PORT, help="(default %(default)s)")
    chosen = parser.parse_args()
    serve(chosen.port, chosen.offset_s)
