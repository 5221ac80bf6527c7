"""What breaks under the daemon is noticed, counted and mended, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import drills
from tests.fakes.broker import Broker
from tests.fakes.device import Device, telemetry
from tests.fakes.rtsp import RtspServer
from tests.fakes.subscriber import Subscriber


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV], ids=lambda fault: fault.name)
def test_vision_may_die_or_hang_and_control_lives(broker: Broker, tmp_path: Path, fault: signal.Signals) -> None:
    with Device(tmp_path, port=broker.port, vision={"silence_s": 2.5}) as device:
        pid = device.pid
        drills.hurt_vision(device, fault)
        assert device.is_running()
        assert device.pid == pid


def test_a_window_that_was_open_when_vision_died_keeps_what_it_had(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, port=broker.port, telemetry={"window_s": 86_400})
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/telemetry") as subscriber, device:
        device.wait(lambda now: now.frames_inferred >= 40, "40 frames")
        drills.hurt_vision(device, signal.SIGKILL)
        device.wait(lambda now: now.frames_inferred >= 80, "40 more frames")
        assert device.stop()[0] == 0
        device.start()
        messages = subscriber.wait(lambda got: len(got) >= 1, "the window")
    report = telemetry(messages)[0]
    assert report["inf"]["n"] >= 80
    assert report["sys"]["vision_restarts"] == {"died": 1}


def test_a_vision_that_talks_nonsense_is_lost_and_a_good_one_found(broker: Broker, tmp_path: Path) -> None:
    """Control connects to a socket here, as under systemd; first somebody else answers there, then vision."""
    path = tmp_path / "vision.sock"
    device = Device(tmp_path / "device", port=broker.port, vision={"socket": str(path)})
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as babbler:
        babbler.bind(str(path))
        babbler.listen()
        babbling = threading.Thread(target=_babble, args=(babbler,), daemon=True)
        babbling.start()
        with device:
            device.wait(lambda now: now.vision_restarts.get("nonsense", 0) >= 1, "the nonsense to be noticed")
            babbler.shutdown(socket.SHUT_RDWR)
            path.unlink()
            device.wait(lambda now: now.vision_restarts.get("unreachable", 0) >= 1, "the missing socket to be noticed")
            vision = subprocess.Popen([sys.executable, "-m", "edgeapp.vision.main", "--listen", str(path)])
            try:
                device.wait_inferring()
                assert device.stop()[0] == 0
                assert vision.wait(60) == 0, "vision ends with its connection"
            finally:
                vision.kill()
                vision.wait()


def _babble(listener: socket.socket) -> None:
    try:
        while True:
            with listener.accept()[0] as connection:
                connection.send(b"Pnonsense")
                time.sleep(0.05)
    except OSError:
        pass


def test_a_model_that_cannot_be_loaded_is_told_and_mended_without_a_restart(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, port=broker.port)
    model = tmp_path / "model" / "model.tflite"
    good = model.read_bytes()
    model.write_bytes(good[:-200] + bytes(200))
    with device:
        status = device.wait(lambda now: now.vision_restarts.get("refused", 0) >= 1, "the refusal")
        assert status.trouble is not None
        assert "sha256" in status.trouble.text
        model.write_bytes(good)
        device.wait_inferring()


def test_no_report_is_lost_when_the_broker_is_killed_and_comes_back(tmp_path: Path) -> None:
    with (
        Broker(tmp_path / "broker") as broker,
        Subscriber(broker.port, "edgeapp/v1/default/test-device/telemetry") as subscriber,
        Device(tmp_path / "device", port=broker.port) as device,
    ):
        subscriber.wait(lambda got: len(got) >= 1, "a first report")
        for _ in range(2):
            drills.hurt_broker(device, broker, subscriber, waiting=1)
        count = len(subscriber.messages)
        subscriber.wait(lambda got: len(got) >= count + 1, "a report after the return")
        device.wait(lambda now: now.broker.waiting == 0, "an empty spool")
        assert drills.missing_reports(subscriber) == []
        assert len(telemetry(subscriber.messages)) >= 4


def test_a_video_taken_away_and_brought_back_leaves_nothing_behind(broker: Broker, tmp_path: Path) -> None:
    with Device(tmp_path, port=broker.port) as device:
        drills.take_video_away(device, tmp_path / "video.avi")
        before = drills.footprint(device, device.wait_inferring())
        for _ in range(4):
            drills.take_video_away(device, tmp_path / "video.avi")
        status = device.wait_inferring()
        after = drills.footprint(device, status)
        assert status.camera is not None
        assert status.camera.reopened >= 5
        assert sum(status.vision_restarts.values()) == 0
        assert after.threads == before.threads
        assert after.descriptors == before.descriptors
        assert after.visions == before.visions


def test_a_stream_whose_server_was_killed_resumes_by_itself(broker: Broker, tmp_path: Path) -> None:
    with (
        RtspServer() as server,
        Device(tmp_path, port=broker.port, camera={"kind": "rtsp", "source": server.url}) as device,
    ):
        device.wait_inferring()
        server.kill()
        device.wait(
            lambda now: (
                now.camera is not None and now.camera.state == "retrying" and str(server.port) in now.camera.error
            ),
            "the loss, and where",
        )
        server.start()
        device.wait(lambda now: now.camera is not None and now.camera.state == "running", "the stream")
        device.wait_inferring()


def test_a_daemon_killed_with_its_vision_stopped_leaves_no_vision_for_long(broker: Broker, tmp_path: Path) -> None:
    """The kernel ends vision with its parent, even one that can run no instruction."""
    with Device(tmp_path, port=broker.port) as device:
        status = device.wait_inferring()
        assert status.vision_pid is not None
        os.kill(status.vision_pid, signal.SIGSTOP)
        device.kill()
    deadline = time.monotonic() + 60
    while device.visions() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert device.visions() == set()
