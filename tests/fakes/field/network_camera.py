"""A network camera on a device that was set up: provisioned from answers, and what vision then may reach."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.fakes.field.bare_device import PROVISION, BareDevice
from tests.fakes.field.networked import CONTROL, VISION
from tests.fakes.field.steps import DidNotRunError
from tests.fakes.field.units import NO_BPF
from tests.fakes.rtsp import RtspServer

_DROP_IN = "etc/systemd/system/edgeapp-vision.service.d/rtsp.conf"
_ITS_OWN, _ANOTHER = "127.0.0.1", "127.0.0.2"  # of the device's loopback; the server listens on both
_LOOK_S = 30.0


class NetworkCamera:
    """A real RTSP server in the device's network, until `stack` ends."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._url = ""

    def provision(self, device: BareDevice) -> str:
        """The answers name the camera; its address and no other is opened to vision, which then gets pictures."""
        try:
            server = self._stack.enter_context(RtspServer(namespace=device.namespace, address="0.0.0.0"))
        except RuntimeError as error:
            raise DidNotRunError(str(error)) from error
        self._url = server.url
        device.answer(CAMERA_KIND="rtsp", CAMERA_SOURCE=self._url)
        ended = device.script(*PROVISION)
        assert ended.status == 0, ended.text
        assert "ok    camera       rtsp, 320 x 240" in ended.text, ended.text
        opened = [line for line in (device.root / _DROP_IN).read_text().splitlines() if "Address" in line]
        assert opened[-2:] == ["IPAddressDeny=any", f"IPAddressAllow={_ITS_OWN}"], opened
        known = {name: device.ask(VISION, name) for name in ("IPAddressAllow", "PrivateNetwork")}
        assert known == {"IPAddressAllow": f"{_ITS_OWN}/32", "PrivateNetwork": "no"}, known
        status = device.wait_inferring()
        assert status.source == "rtsp", status
        return f"set up after {ended.seconds:.0f} s, {status.frames_inferred} frames inferred"

    def elsewhere(self, device: BareDevice) -> str:
        """The configuration names another address, and the drop-in does not."""
        if not self._url:
            raise DidNotRunError("there is no network camera")
        device.run("/usr/bin/python3", "-c", _CONNECT, _ANOTHER, self._url.rpartition(":")[2].partition("/")[0])
        device.configure(f"camera.source={self._url.replace(_ITS_OWN, _ANOTHER)}")
        device.run("systemctl", "restart", CONTROL)
        deadline_s = time.monotonic() + _LOOK_S
        while time.monotonic() < deadline_s:
            status = device.status()
            camera = status.camera if status is not None and status.pid == device.pid(CONTROL) else None
            if status is not None and camera is not None and camera.state == "running" and status.frames_inferred:
                raise DidNotRunError(NO_BPF)
            if camera is not None and camera.error:
                return f"another address gives no picture: {camera.error}"
            time.sleep(0.2)
        raise AssertionError(f"expected an error of the camera, found {device.status()}")


_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"
