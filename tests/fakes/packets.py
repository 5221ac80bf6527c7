"""MQTT packets as bytes, for fakes that must do what no client library does."""

from __future__ import annotations

from typing import BinaryIO

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, DISCONNECT = 1, 2, 3, 4, 8, 9, 14
_MORE = 0x80
_RETAIN = 0x01


def read_packet(stream: BinaryIO) -> tuple[int, int, bytes] | None:
    """The next packet as (type, flags, rest); None at the end of the stream."""
    first = stream.read(1)
    if not first:
        return None
    length, shift = 0, 0
    while True:
        byte = stream.read(1)
        if not byte:
            return None
        length |= (byte[0] & ~_MORE) << shift
        shift += 7
        if not byte[0] & _MORE:
            break
    rest = stream.read(length)
    return (first[0] >> 4, first[0] & 0x0F, rest) if len(rest) == length else None


def packet(kind: int, rest: bytes, flags: int = 0) -> bytes:
    """One packet with its fixed header."""
    length, header = len(rest), bytearray([kind << 4 | flags])
    while True:
        length, low = length >> 7, length & ~_MORE & 0xFF
        header.append(low | (_MORE if length else 0))
        if not length:
            return bytes(header) + rest


def text(value: str) -> bytes:
    """A length-prefixed string."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def split_publish(flags: int, rest: bytes) -> tuple[str, int, bytes, bool]:
    """A PUBLISH of MQTT 3.1.1 as (topic, id, payload, is_retained); the id is 0 with QoS 0."""
    end = 2 + int.from_bytes(rest[:2], "big")
    has_id = bool(flags >> 1 & 3)
    mid = int.from_bytes(rest[end : end + 2], "big") if has_id else 0
    return rest[2:end].decode(), mid, rest[end + 2 * has_id :], bool(flags & _RETAIN)
