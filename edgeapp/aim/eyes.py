"""The process of `edgeapp aim` that sees. It leaves the network before it loads or opens anything that sees.

    python -m edgeapp.aim.eyes --fd SOCKET --out-fd PIPE --parent PID

Told what to do by a Configure of vision's protocol, and by another one when the masks are others; answers on the pipe,
each time a HEAD (bytes of JSON, bytes of JPEG), a Look as JSON, and a JPEG of the picture as the model gets it, masked.
An RTSP camera is reached over the network, so then it keeps that. Nothing is written to a disk.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

from edgeapp.errors import ProtocolError
from edgeapp.system import processes
from edgeapp.system.network import leave_network
from edgeapp.vision import protocol
from edgeapp.vision.channel import Channel

if TYPE_CHECKING:
    from edgeapp.aim.sight import Eyes

_LOGGER = logging.getLogger(__name__)
_CONFIGURE_S = 10.0


def _receive(link: Channel, timeout_s: float) -> protocol.Configure | None:
    message = link.receive(timeout_s)
    if message is not None and not isinstance(message, protocol.Configure):
        raise ProtocolError(f"expected Configure, found {type(message).__name__}")
    return message


def _talk(link: Channel, eyes: Eyes) -> None:
    """Other masks, until the parent goes."""
    try:
        while True:
            task = _receive(link, _CONFIGURE_S)
            if task is not None:
                eyes.configure(task.camera)
    except EOFError:
        os._exit(0)
    except ProtocolError as error:
        _LOGGER.error("%s", error)
        os._exit(1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edgeapp-aim-eyes", description="The process of edgeapp aim that sees.")
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket to the parent")
    parser.add_argument("--out-fd", type=int, required=True, help="the inherited pipe for pictures")
    parser.add_argument("--parent", type=int, required=True, help="end with this process")
    chosen = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold pictures
    if not processes.die_with_parent(chosen.parent):
        return 0
    for ignored in (signal.SIGINT, signal.SIGHUP):  # a terminal sends these to the whole group; the parent decides
        signal.signal(ignored, signal.SIG_IGN)
    logging.basicConfig(level="WARNING", format="eyes: %(levelname)s: %(message)s", stream=sys.stderr)
    link = Channel(socket.socket(fileno=chosen.fd))
    try:
        task = _receive(link, _CONFIGURE_S)
    except EOFError:
        return 0
    if task is None:
        return 1
    if task.camera.kind != "rtsp" and not leave_network():
        _LOGGER.warning("the kernel grants no empty network; the eyes could reach the one there is")
    from edgeapp.aim.sight import Eyes  # only now: a thread of theirs would keep the network that it was started in

    eyes = Eyes(task, chosen.out_fd)
    threading.Thread(target=_talk, args=(link, eyes), name="talk", daemon=True).start()
    eyes.run()
    return 0


if __name__ == "__main__":
    main()
