"""A vision that systemd starts takes the connection on which control still waits, and no other."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edgeapp.config import CameraConfig, Config, DeviceConfig, InferenceConfig, MqttConfig, VisionConfig
from edgeapp.errors import VisionLostError
from edgeapp.vision.client import VisionClient

_ACCEPT = """
import os, sys
from pathlib import Path

from edgeapp.vision import main
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
with main._listen(Path("/nowhere")) as connection:
    print(connection.recv(100).decode())
"""


def test_a_connection_that_control_gave_up_meanwhile_is_passed_over(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as early,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as late,
    ):
        server.bind(path)
        server.listen(4)
        early.connect(path)
        early.send(b"given up")
        early.close()
        late.connect(path)
        late.send(b"still here")
        done = subprocess.run(
            [sys.executable, "-c", _ACCEPT, str(server.fileno())],
            pass_fds=[server.fileno()],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.stdout == "still here\n", done.stderr


def test_control_is_refused_and_does_not_wait_where_too_many_wait_already(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(path))
        server.listen(0)
        clients = [VisionClient(_config(path)) for _ in range(2)]
        clients[0].start(_config(path), _config(path).inference)
        with pytest.raises(VisionLostError) as lost:
            clients[1].start(_config(path), _config(path).inference)
        clients[0].end(kindly=False)
    assert lost.value.cause == "unreachable"


def _config(path: Path) -> Config:
    return Config(
        device=DeviceConfig(id="test"),
        camera=CameraConfig(kind="video", source="/nowhere"),
        inference=InferenceConfig(model_dir="/nowhere"),
        mqtt=MqttConfig(host="localhost"),
        vision=VisionConfig(socket=str(path)),
    )
