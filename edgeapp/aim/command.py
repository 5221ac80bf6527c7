"""`edgeapp aim`: builds every part, says on the terminal where to look and with which code, and ends it.

eyes process   camera → masks → model → Look and JPEG    eyes.py (it sees, and has no network)
viewer thread  the eyes' newest word                     viewer.py
server threads one for each connection: HTTPS            server.py, request.py, site.py
main thread    the time, the service's lock, the heat    this file; session.py and gate.py say when it is over
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edgeapp import config_file
from edgeapp.aim import certificate
from edgeapp.aim.gate import Event, Phase, spelled
from edgeapp.aim.request import hosts_of, is_local, place_of
from edgeapp.aim.server import AimServer
from edgeapp.aim.session import Session
from edgeapp.aim.shapes_file import ShapesFile
from edgeapp.aim.site import Site
from edgeapp.aim.viewer import Viewer
from edgeapp.config import Config
from edgeapp.errors import AimError
from edgeapp.interfaces import Sensors
from edgeapp.status import LOCK_NAME
from edgeapp.system.clock import SystemClock
from edgeapp.system.files import is_locked
from edgeapp.thermal.sensors import BoardSensors, SensorThread
from edgeapp.vision.choice import InferenceChoice
from edgeapp.vision.protocol import Configure

_TICK_S = 0.5
_SHARED_SOURCES = ("rtsp", "video", "images")  # what two may open at a time
_SOMEWHERE = "192.0.2.1"  # of TEST-NET-1 (RFC 5737): nothing is ever sent there
_CLEAR_LINE = "\r\033[K"


class Board:
    """The newest word of the board's sensors, and whether the service runs. The main thread updates it."""

    def __init__(self, config: Config, sensors: Sensors) -> None:
        self._device, self._sensors = config.device.id, sensors
        self._temp_c: float | None = None
        self._is_throttled = self._is_under_voltage = False
        self.is_service_live = False

    def update(self) -> None:
        for sample in self._sensors.take():
            self._temp_c = sample.temp_c
            self._is_throttled = sample.flags is not None and bool(sample.flags.throttled)
            self._is_under_voltage = sample.flags is not None and sample.flags.under_voltage

    def facts(self) -> dict[str, Any]:
        return {
            "device": self._device,
            "temp_c": self._temp_c,
            "is_throttled": self._is_throttled,
            "is_under_voltage": self._is_under_voltage,
            "is_service_live": self.is_service_live,
        }


def run(chosen: argparse.Namespace) -> int:
    """Aim until it is over; 0 however it ended.

    Raises:
        ConfigError: the configuration cannot be used.
        AimError: it cannot begin, and why.
    """
    logging.basicConfig(level="WARNING", format="%(levelname)s: %(message)s", stream=sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold pictures
    config = config_file.load(chosen.config)
    lock = Path(config.paths.runtime_dir) / LOCK_NAME
    check_service(config.camera.kind, is_live=is_live(lock), may_be_live=chosen.while_running)
    address = chosen.address or own_address()
    check_address(address)
    session = Session(SystemClock(), chosen.minutes * 60.0)
    viewer = Viewer(_task(config), silence_s=config.vision.start_limit_s + config.vision.invoke_limit_s)
    sensors = SensorThread(BoardSensors(config.thermal), sample_hz=config.thermal.sample_hz)
    board = Board(config, sensors)
    site = Site(
        session,
        ShapesFile(chosen.config),
        newer_than=viewer.newer_than,
        facts=board.facts,
        on_masks=lambda new: viewer.configure(_task(new)),
    )
    tls, fingerprint = certificate.make(address)
    server = _listen(address, chosen.port, site, tls)
    _invite(place_of(address, server.port), session.code, fingerprint, chosen.minutes)
    sensors.start()
    viewer.start()
    threading.Thread(target=server.serve_forever, args=(_TICK_S / 2,), name="server", daemon=True).start()
    try:
        _watch(session, server, board, lock, may_be_live=chosen.while_running)
    except KeyboardInterrupt:
        session.end(Event.INTERRUPTED)
    finally:
        server.shutdown()
        server.server_close()
        viewer.stop()
        sensors.stop()
    _show("")
    print(f"Aiming has ended: {session.gate().ended_by}.", flush=True)
    return 0


def _watch(session: Session, server: AimServer, board: Board, lock: Path, *, may_be_live: bool) -> None:
    while not session.ended.wait(_TICK_S):
        gate = session.gate()
        server.end_overdue()
        board.update()
        board.is_service_live = is_live(lock)
        if board.is_service_live and not may_be_live:
            session.end(Event.SERVICE)
        doing = "waiting for the code" if gate.phase is Phase.WAITING else "somebody looks"
        wrong = f", {gate.wrong_codes} wrong so far" if gate.wrong_codes else ""
        _show(f"{doing}{wrong}; ends in {session.left_s() / 60:.0f} min")


def _task(config: Config) -> Configure:
    """What the eyes do: as vision would be told."""
    inference, fault = InferenceChoice().for_vision(config)
    return Configure(camera=config.camera, inference=inference, motion=config.motion, delegate_fault=fault)


def check_service(kind: str, *, is_live: bool, may_be_live: bool) -> None:
    """
    Raises:
        AimError: aiming may not begin beside the service, or cannot, since a camera has one user.
    """
    if not is_live:
        return
    if kind not in _SHARED_SOURCES:
        raise AimError(f"the service is live and has the camera ({kind}): systemctl stop edgeapp, then aim again")
    if not may_be_live:
        raise AimError("the service is live: systemctl stop edgeapp, or aim beside it with --while-running")


def is_live(lock: Path) -> bool:
    """Whether the service holds its lock.

    Raises:
        AimError: this user cannot tell.
    """
    try:
        return is_locked(lock)
    except OSError as error:
        raise AimError(f"{lock}: cannot tell whether the service is live: {error.strerror}; run as root") from error


def check_address(address: str) -> None:
    """
    Raises:
        AimError: the world could reach it, or it is no address of one place.
    """
    if not is_local(address):
        raise AimError(f"--address: expected an address of this machine in a private network, found {address}")


def own_address() -> str:
    """This machine's address in the network that leads out.

    Raises:
        AimError: it has none.
    """
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((_SOMEWHERE, 9))  # sends nothing: the kernel only chooses
        return str(probe.getsockname()[0])
    raise AimError("no network leads out of this machine; name the address to listen on with --address")


def _listen(address: str, port: int, site: Site, tls: Any) -> AimServer:
    machine = os.uname().nodename.partition(".")[0]
    try:
        return AimServer(
            address, port, site=site, tls=tls, hosts=lambda port: hosts_of(address, port, machine), clock=SystemClock()
        )
    except OSError as error:
        raise AimError(f"{address} port {port}: cannot be listened on: {error.strerror}") from error


def _invite(host: str, code: str, fingerprint: str, minutes: int) -> None:
    until = time.strftime("%H:%M", time.localtime(time.time() + minutes * 60))
    print(
        f"""
Open in a browser on the same network:

    https://{host}/

    code  {spelled(code)}

The code opens for one browser, once; five wrong codes end this. The browser warns of a certificate that nobody
vouches for: it was made just now, and its SHA-256 fingerprint begins with {fingerprint}.
Ends by itself at {until}. Ctrl-C ends it now.
""",
        flush=True,
    )


def _show(doing: str) -> None:
    if sys.stderr.isatty():
        print(f"{_CLEAR_LINE}{doing}", end="", file=sys.stderr, flush=True)
