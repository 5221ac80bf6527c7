"""A real RTSP server (GStreamer's) on a free loopback port, that a test may kill and start again on the same port."""

from __future__ import annotations

import select
import subprocess

from tests.fakes.broker import free_port

_START_S = 60.0
# GStreamer's Python binding comes with Debian's own Python, so the server runs there.
_PYTHON = "/usr/bin/python3"
_SERVER = """
import sys
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address(sys.argv[1])
server.set_service(sys.argv[2])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true pattern=ball"
                   " ! video/x-raw,format=I420,width=320,height=240,framerate=25/1"
                   " ! jpegenc ! rtpjpegpay name=pay0 pt=26 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
"""


class RtspServer:
    """A moving ball at 25 frames a second, as motion JPEG."""

    def __init__(self, *, namespace: str = "", address: str = "127.0.0.1") -> None:
        """`namespace`: a network namespace to run in; `address`: where to listen."""
        self.port = free_port()
        self._address, self._prefix = address, ["ip", "netns", "exec", namespace] if namespace else []
        self.url = f"rtsp://127.0.0.1:{self.port}/live"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and return once the port is open.

        Raises:
            RuntimeError: GStreamer's RTSP server is not installed, or does not start.
        """
        self._process = subprocess.Popen(
            [*self._prefix, _PYTHON, "-c", _SERVER, self._address, str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        is_ready = select.select([self._process.stdout], [], [], _START_S)[0] and self._process.stdout.readline()
        if not is_ready:
            self._process.kill()
            said = self._process.communicate()[1].decode(errors="replace")
            self._process = None
            raise RuntimeError(
                "these tests need the Debian packages python3-gi, gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-base"
                f" and gstreamer1.0-plugins-good: {said}"
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
