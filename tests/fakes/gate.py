"""A TCP forwarder between a device and its broker, that a test opens, shuts and jams.

Open, it forwards. Shut, it refuses: connections are cut and new ones are closed at once. Jammed, it holds all bytes
back while every connection stays up, as a dead link does that nobody has noticed yet.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
from enum import Enum

_LOOK_S = 0.01
_V5_CONNECT = re.compile(rb"\x10[\x00-\xff]{1,4}?\x00\x04MQTT\x05")


class Way(Enum):
    OPEN = "open"
    SHUT = "shut"
    JAMMED = "jammed"


class Gate:
    """One listening port in front of one target port, both on loopback."""

    def __init__(self, target_port: int, *, answer_to_v5: bytes | None = None) -> None:
        """With `answer_to_v5` it plays a broker that knows MQTT 3.1.1 only: it answers a CONNECT of MQTT 5 with these
        bytes and hangs up.
        """
        self._target_port = target_port
        self._answer_to_v5 = answer_to_v5
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1"
        self.port: int = self._listener.getsockname()[1]
        self._way = Way.OPEN
        self._is_ended = threading.Event()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended.set()
        self._thread.join()
        for link in list(self._peers):
            link.close()
        self._listener.close()
        self._selector.close()

    def open(self) -> None:
        self._way = Way.OPEN

    def shut(self) -> None:
        self._way = Way.SHUT

    def jam(self) -> None:
        self._way = Way.JAMMED

    def _run(self) -> None:
        while not self._is_ended.is_set():
            if self._way is Way.JAMMED:
                self._is_ended.wait(_LOOK_S)
                continue
            if self._way is Way.SHUT:
                for link in list(self._peers):
                    self._cut(link)
            for key, _ in self._selector.select(_LOOK_S):
                if key.data is self._listener:
                    self._accept()
                elif key.data in self._peers:
                    self._forward(key.data)

    def _accept(self) -> None:
        device, _ = self._listener.accept()
        if self._way is not Way.OPEN:
            device.close()
            return
        try:
            broker = socket.create_connection(("127.0.0.1", self._target_port), timeout=5)
        except OSError:
            device.close()
            return
        for one, other in ((device, broker), (broker, device)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ, one)

    def _forward(self, link: socket.socket) -> None:
        try:
            data = link.recv(65536)
            if self._answer_to_v5 is not None and _V5_CONNECT.match(data):
                link.sendall(self._answer_to_v5)
            elif data:
                self._peers[link].sendall(data)
                return
        except OSError:
            pass
        self._cut(link)

    def _cut(self, link: socket.socket) -> None:
        """Close both ends; does nothing when that is done already."""
        other = self._peers.pop(link, None)
        if other is None:
            return
        self._peers.pop(other)
        for end in (link, other):
            self._selector.unregister(end)
            end.close()
