"""Two hosts in network namespaces with a bad link between them. Needs root, iproute2 and /dev/net/tun.

The link is a pair of tun devices and a thread that forwards packets with delay, loss, doubles and a limited rate, so it
needs no sch_netem; all can be changed while traffic flows. Nothing leaves the namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

_TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
_MAX_QUEUE = 1000
_LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Weather:
    """How bad the link is. `cut`: which ways swallow everything, of "ab" (near to far) and "ba"."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    doubles: float = 0.0
    bits_per_s: float = 0.0
    cut: tuple[str, ...] = ()


def is_possible() -> bool:
    """Whether this machine and user can make namespaces and tun devices."""
    return os.geteuid() == 0 and _TUN.exists() and shutil.which("ip") is not None


class BadLink:
    """Use as a context. `near` and `far` are the namespaces' names, `near_host` and `far_host` their addresses."""

    def __init__(self, seed: int) -> None:
        tag = f"edgeapp-{os.getpid()}"
        self.near, self.far = f"{tag}-a", f"{tag}-b"
        self.near_host, self.far_host = "10.77.7.1", "10.77.7.2"
        self.weather = Weather()
        self._random = random.Random(seed)
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._forward, name="bad-link", daemon=True)
        self._near_fd = self._far_fd = -1

    def __enter__(self) -> BadLink:
        self._near_fd = _make_end(self.near, self.near_host, self.far_host)
        self._far_fd = _make_end(self.far, self.far_host, self.near_host)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ended.set()
        self._thread.join()
        for descriptor in (self._near_fd, self._far_fd):
            os.close(descriptor)
        for namespace in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)

    def _forward(self) -> None:
        ways = {self._near_fd: ("ab", self._far_fd), self._far_fd: ("ba", self._near_fd)}
        queue: list[tuple[float, int, int, bytes]] = []
        free_at_s = {"ab": 0.0, "ba": 0.0}
        numbers = itertools.count()
        while not self._is_ended.is_set():
            wait_s = max(0.0, min(_LOOK_S, queue[0][0] - time.monotonic())) if queue else _LOOK_S
            for descriptor in select.select(list(ways), [], [], wait_s)[0]:
                way, out = ways[descriptor]
                packet, weather, now_s = os.read(descriptor, 65536), self.weather, time.monotonic()
                if way in weather.cut or self._random.random() < weather.loss or len(queue) > _MAX_QUEUE:
                    continue
                due_s = now_s
                if weather.bits_per_s:
                    due_s = free_at_s[way] = max(free_at_s[way], now_s) + len(packet) * 8 / weather.bits_per_s
                for _ in range(2 if self._random.random() < weather.doubles else 1):
                    spread_s = self._random.uniform(-1, 1) * weather.jitter_s
                    heapq.heappush(queue, (due_s + weather.delay_s + spread_s, next(numbers), out, packet))
            while queue and queue[0][0] <= time.monotonic():
                _, _, out, packet = heapq.heappop(queue)
                os.write(out, packet)


def _make_end(namespace: str, host: str, other: str) -> int:
    """A namespace with a tun device; the device's descriptor."""
    _ip("netns", "add", namespace)
    descriptors: list[int] = []

    def make() -> None:  # setns counts for one thread: the device is born in the namespace
        place = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(place, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(place)
        descriptor = os.open(_TUN, os.O_RDWR)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", b"eth0", _IFF_TUN | _IFF_NO_PI))
        descriptors.append(descriptor)

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    _ip("-n", namespace, "addr", "add", host, "peer", other, "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "mtu", "1400", "up")
    _ip("-n", namespace, "link", "set", "lo", "up")
    return descriptors[0]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
