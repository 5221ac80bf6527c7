"""One end of the socket between `vision` and `control`: messages in, messages out.

Guarantees that a send never blocks: what a stuck other side does not read is dropped, and the sender is told.
"""

from __future__ import annotations

import logging
import select
import socket

from edgeapp.vision import protocol

_LOGGER = logging.getLogger(__name__)


class Channel:
    """A connected SEQPACKET socket. One thread receives; any may send, a datagram is whole or not there."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: protocol.Message) -> bool:
        """Send without waiting. False when the other side does not read, or is gone: its silence or end tells which."""
        try:
            self._connection.send(protocol.encode(message), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            _LOGGER.debug("%s was not sent: %s", type(message).__name__, error)
            return False
        return True

    def receive(self, timeout_s: float) -> protocol.Message | None:
        """The next message, or None after `timeout_s`.

        Raises:
            EOFError: the other side closed the connection.
            ProtocolError: it talks nonsense.
        """
        if not select.select([self._connection], [], [], timeout_s)[0]:
            return None
        try:
            datagram = self._connection.recv(protocol.MAX_MESSAGE_BYTES)
        except ConnectionResetError:  # told once, before what it said last: it left words of ours unread
            datagram = self._connection.recv(protocol.MAX_MESSAGE_BYTES)
        if not datagram:
            raise EOFError
        return protocol.decode(datagram)

    def close(self) -> None:
        self._connection.close()
