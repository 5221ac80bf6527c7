"""The emulated devices' time server answers as a client of SNTP expects, and tells the time that it is given."""

from __future__ import annotations

import struct

from tests.fakes.field.time_server import answer

_CLIENT = bytes([0 << 6 | 4 << 3 | 3, 0, 6]).ljust(40, b"\0") + bytes(range(1, 9))


def test_the_answer_carries_the_clients_own_time_back_and_ours_in_ntps_count() -> None:
    reply = answer(_CLIENT, 0.5, 1_700_000_000.25)
    assert reply is not None
    assert len(reply) == 48
    assert (reply[0] >> 6, reply[0] >> 3 & 7, reply[0] & 7) == (0, 4, 4)  # no warning, the client's version, a server
    assert 1 <= reply[1] <= 15  # a stratum of 0 or 16 would say that nothing is known
    assert reply[24:32] == _CLIENT[40:48]
    assert struct.unpack("!2I", reply[32:40]) == (2_208_988_800, 1 << 31)  # 1970, half a second later
    assert struct.unpack("!2I", reply[40:48]) == (3_908_988_800, 1 << 30)


def test_what_is_no_message_gets_no_answer() -> None:
    assert answer(b"\x23", 0.0, 0.0) is None
