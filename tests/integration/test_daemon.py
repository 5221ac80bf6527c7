"""The daemon's whole job and its stop, with a real broker, a real video and a real small model."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeapp.vision.capture import CaptureState
from edgeapp.vision.motion import Verdict
from tests.fakes.broker import Broker
from tests.fakes.device import Device, telemetry
from tests.fakes.subscriber import Subscriber

STOP_LIMIT_S = 5.0  # the promise are two; a busy machine may take its time


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def _validator(name: str) -> jsonschema.Draft202012Validator:
    text = (resources.files("edgeapp") / "schemas" / name).read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


def test_frames_become_reports_at_the_broker_and_no_count_leaves(broker: Broker, tmp_path: Path) -> None:
    counting = {"lines": [{"name": "middle", "start": [0.5, 0.0], "end": [0.5, 1.0]}]}
    device = Device(tmp_path, port=broker.port, counting=counting)
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/#") as subscriber, device:
        messages = subscriber.wait(lambda got: len(telemetry(got)) >= 2, "two reports")
        status = device.wait_inferring()
        assert device.stop() <= (0, STOP_LIMIT_S)
        messages = subscriber.wait(lambda got: json.loads(got[-1].payload).get("state") == "offline", "the goodbye")

    assert status.model is not None
    assert status.model.name == "bright-spot"
    assert status.camera is not None
    assert status.camera.state == "running"
    reports = telemetry(messages)
    for report in reports:
        _validator("telemetry-v1.schema.json").validate(report)
        assert report["win"]["end"] - report["win"]["start"] == 5
        assert report["win"]["start"] % 5 == 0
    whole = reports[1]
    assert whole["win"]["complete"]
    assert 0 < whole["inf"]["n"] <= 20 * 5 + 5, "no more than is wanted; a busy machine may do fewer"
    assert whole["inf"]["p50_ms"] <= whole["inf"]["p99_ms"] <= whole["inf"]["max_ms"]
    for one in messages:
        if one.topic.endswith("/status"):
            _validator("status-v1.schema.json").validate(one.fields)
    written = device.log + (device.runtime_dir / "status.json").read_text() + json.dumps(reports)
    assert not [word for word in ("entered", "crossing", "present", "dwell", "middle") if word in written.lower()]


def test_a_window_cut_short_by_the_stop_is_kept_and_arrives_after_the_next_start_at_the_latest(
    broker: Broker, tmp_path: Path
) -> None:
    device = Device(tmp_path, port=broker.port, telemetry={"window_s": 86_400})
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/telemetry") as subscriber, device:
        device.wait_inferring()
        assert device.stop()[0] == 0
        left = device.status()
        assert left is not None
        assert left.broker.waiting + left.broker.delivered == 1, "kept for the next start, or delivered just in time"
        device.start()
        messages = subscriber.wait(lambda got: len(got) >= 1, "the cut window's report")
    assert not telemetry(messages)[0]["win"]["complete"]


def test_sigterm_under_load_stops_within_two_seconds_and_leaves_no_process(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, port=broker.port, inference={"max_fps": 200.0}, camera={"replay": "fast"})
    with device:
        for _ in range(4):
            device.wait_inferring()
            status, took_s = device.stop()
            assert status == 0
            assert took_s < STOP_LIMIT_S
            assert device.visions() == set()
            device.start()


def test_sigterm_stops_in_time_while_the_camera_hangs_and_the_broker_says_nothing(tmp_path: Path) -> None:
    """A listener that never answers: opening the stream hangs in native code, and the broker's welcome never comes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        device = Device(tmp_path, port=port, camera={"kind": "rtsp", "source": f"rtsp://127.0.0.1:{port}/live"})
        with device:
            device.wait(lambda now: now.camera is not None and now.camera.state == "opening", "the hanging camera")
            status, took_s = device.stop()
            assert status == 0
            assert took_s < STOP_LIMIT_S
        assert device.visions() == set()


def test_after_kill_9_the_next_start_finds_nothing_in_its_way(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, port=broker.port)
    with device:
        status = device.wait_inferring()
        assert status.vision_pid is not None
        # A stopped vision can neither notice the end of its connection nor stop by itself.
        subprocess.run(["kill", "-STOP", str(status.vision_pid)], check=True)
        device.kill()
        device.start()
        again = device.wait_inferring()
        assert again.vision_pid != status.vision_pid
        assert device.visions() == {again.vision_pid}
        leftovers = [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
        assert leftovers in ([], [".status.json.new"])


def test_a_second_daemon_on_the_same_folders_is_refused(broker: Broker, tmp_path: Path) -> None:
    with Device(tmp_path, port=broker.port) as device:
        device.wait_inferring()
        second = device.command("run", "--config", str(device.config_path))
        assert second.returncode == 1
        assert str(device.pid) in second.stderr
        assert device.is_running()


def test_status_tells_a_technician_how_things_are(broker: Broker, tmp_path: Path) -> None:
    with Device(tmp_path, port=broker.port) as device:
        device.wait(lambda now: now.broker.is_connected and now.fps > 15, "a working daemon")
        told = device.command("status", "--config", str(device.config_path))
        assert told.returncode == 0, told.stdout
        assert "bright-spot" in told.stdout
        assert "20 fps" in told.stdout
        machine = json.loads(device.command("status", "--json", "--config", str(device.config_path)).stdout)
        assert machine["running"] is True
        assert machine["level"] in ("ok", "warn")
        device.kill()
        told = device.command("status", "--config", str(device.config_path))
        assert told.returncode == 3
        assert "NOT RUNNING" in told.stdout


def test_a_wrong_configuration_stops_the_start_with_status_78_and_every_mistake(tmp_path: Path) -> None:
    device = Device(tmp_path, port=1, camera={"fpss": 3, "rotate_deg": 45})
    with device:
        assert device.wait_exit() == 78
    assert "fpss: unknown key; did you mean fps?" in device.log
    assert "rotate_deg" in device.log


def test_sighup_applies_what_can_change_live_and_keeps_the_old_where_the_new_is_wrong(
    broker: Broker, tmp_path: Path
) -> None:
    with Device(tmp_path, port=broker.port) as device:
        first = device.wait(lambda now: now.fps > 15, "20 frames a second")
        device.config["inference"]["max_fps"] = 5.0
        device.config["mqtt"]["port"] = 1
        device.write_config()
        device.signal(signal.SIGHUP)
        slow = device.wait(lambda now: now.fps_wanted == 5.0, "the new rate")
        assert device.pace_fps() < 10
        assert slow.needs_restart == ("mqtt.port",)
        assert slow.broker.is_connected
        assert slow.vision_pid == first.vision_pid, "a new rate needs no new vision process"

        device.config["inference"]["max_fps"] = -1
        device.write_config()
        device.signal(signal.SIGHUP)
        wrong = device.wait(lambda now: now.reload_error != "", "the refusal")
        assert "inference.max_fps" in wrong.reload_error
        assert wrong.fps_wanted == 5.0

        device.config["inference"]["max_fps"] = 10.0
        device.config["camera"]["rotate_deg"] = 180
        device.write_config()
        device.signal(signal.SIGHUP)
        turned = device.wait(lambda now: now.vision_pid not in (None, first.vision_pid), "a new vision process")
        device.wait_inferring()
        assert turned.pid == first.pid
        assert turned.reload_error == ""
        assert sum(turned.vision_restarts.values()) == 0, "a wanted restart is no loss"


def test_systemd_hears_ready_status_watchdog_reload_and_stop(broker: Broker, tmp_path: Path) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(60)
        device = Device(tmp_path / "device", port=broker.port)
        device.start(NOTIFY_SOCKET=str(address), WATCHDOG_USEC="2000000")
        with contextlib.closing(Ear(systemd)) as ear, contextlib.ExitStack() as ending:
            ending.callback(device.kill)
            ear.wait("READY=1")
            ear.wait("WATCHDOG=1")
            ear.wait("STATUS=speed: ")
            device.signal(signal.SIGHUP)
            ear.wait("RELOADING=1")
            ear.wait("READY=1")
            device.signal(signal.SIGSTOP)
            ear.forget()
            assert not ear.hears_anything(1.5), "a daemon that stands still must not feed the watchdog"
            device.signal(signal.SIGCONT)
            assert device.stop()[0] == 0
            ear.wait("STOPPING=1")


class Ear:
    """systemd's side of the notify socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def wait(self, start: str) -> None:
        while not self._listener.recv(4096).decode().startswith(start):
            pass

    def forget(self) -> None:
        while self.hears_anything(0.3):
            pass

    def hears_anything(self, timeout_s: float) -> bool:
        return bool(select.select([self._listener], [], [], timeout_s)[0] and self._listener.recv(4096))

    def close(self) -> None:
        self._listener.close()


def test_a_class_that_the_model_does_not_know_is_refused_on_reload(broker: Broker, tmp_path: Path) -> None:
    with Device(tmp_path, port=broker.port) as device:
        device.wait_inferring()
        device.config["tracking"] = {"classes": ["unicorn"]}
        device.write_config()
        device.signal(signal.SIGHUP)
        status = device.wait(lambda now: now.reload_error != "", "the refusal")
        assert "unicorn" in status.reload_error
        assert "person" in status.reload_error
        device.wait_inferring()


def test_a_class_that_the_model_does_not_know_ends_the_start_with_status_78(broker: Broker, tmp_path: Path) -> None:
    with Device(tmp_path, port=broker.port, tracking={"classes": ["unicorn"]}) as device:
        assert device.wait_exit() == 78
    assert "unicorn" in device.log


def test_a_disk_that_is_full_keeps_the_reports_in_memory_and_loses_none(broker: Broker, tmp_path: Path) -> None:
    """Another process holds the spool's write lock, as a full disk would: nothing can be written."""
    device = Device(tmp_path, port=broker.port)
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/telemetry") as subscriber, device:
        subscriber.wait(lambda got: len(got) >= 1, "a first report")
        holder = sqlite3.connect(tmp_path / "state" / "spool.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        device.wait(lambda now: now.trouble is not None and now.trouble.code == "E_SPOOL", "the trouble")
        device.wait_inferring()
        holder.execute("ROLLBACK")
        holder.close()
        messages = subscriber.wait(lambda got: len(got) >= 4, "the kept reports")
    starts = [report["win"]["start"] for report in telemetry(messages)]
    assert starts == sorted(set(starts))
    assert [later - earlier for earlier, later in pairwise(starts)] == [5] * (len(starts) - 1)


@pytest.mark.parametrize("code", ["import edgeapp", "import edgeapp.cli", "import edgeapp.daemon"])
def test_control_loads_neither_what_is_visions_nor_what_can_wait(code: str) -> None:
    heavy = ("cv2", "ai_edge_litert", "tflite_runtime", "paho", "importlib.metadata")
    program = f"{code}\nimport sys; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_help_is_there_and_loads_nothing_heavy() -> None:
    program = "import sys, runpy; sys.argv = ['edgeapp', '--help']\n"
    program += "try: runpy.run_module('edgeapp.cli', run_name='__main__')\n"
    program += "except SystemExit: pass\n"
    program += "print([name for name in ('cv2', 'numpy', 'yaml', 'paho', 'ai_edge_litert') if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "check-config" in shown.stdout
    assert shown.stdout.strip().endswith("[]")


def test_check_config_lists_every_mistake_for_people_and_programs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("device: {id: A}\ncamera: {kind: v4l2, source: /dev/video0, fpss: 1}\n")
    command = [sys.executable, "-m", "edgeapp.cli", "check-config", str(path)]
    people = subprocess.run(command, capture_output=True, check=False, text=True)
    assert people.returncode == 78
    assert "did you mean fps?" in people.stderr
    program = subprocess.run([*command, "--json"], capture_output=True, check=False, text=True)
    found = json.loads(program.stdout)
    assert program.returncode == 78
    assert {mistake["key"] for mistake in found["mistakes"]} >= {"device.id", "camera.fpss"}


def test_heat_lowers_the_rate_and_a_cool_chip_has_the_wanted_one_again(broker: Broker, tmp_path: Path) -> None:
    """The thermometer is a file, as in sysfs; far above the target no room is left, far below all of it."""
    sensor = tmp_path / "temp"
    sensor.write_text("45000\n")
    thermal = {"sensor_path": str(sensor), "period_s": 1, "bits": "off", "stuck_s": 3600}
    with Device(tmp_path / "device", port=broker.port, thermal=thermal) as device:
        device.wait(lambda now: now.heat.state == "nominal" and now.fps > 15, "the wanted rate")
        sensor.write_text("90000\n")
        hot = device.wait(lambda now: now.heat.limited_by == "heat" and now.heat.rate_fps < 1, "a rate cut by heat")
        assert hot.heat.state in ("hot", "critical")
        assert hot.temp_c is not None
        assert hot.temp_c > 80
        told = device.command("status", "--config", str(device.config_path)).stdout
        assert "of 20 fps" in told
        sensor.write_text("40000\n")
        cool = device.wait(lambda now: now.heat.rate_fps == 20, "the wanted rate again")
        assert device.pace_fps() > 5
        assert cool.vision_pid == hot.vision_pid


def test_a_recording_that_is_not_repeated_ends_and_the_daemon_lives_on(broker: Broker, tmp_path: Path) -> None:
    device = Device(tmp_path, port=broker.port, camera={"loop": False, "replay": "fast"})
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/telemetry") as subscriber, device:
        status = device.wait(lambda now: now.camera is not None and now.camera.state == "ended", "the end")
        # Every frame of a fast replay is inferred, none dropped: 4 s of 25 frames.
        status = device.wait(lambda now: now.frames_inferred == 100, "the last frame")
        assert status.camera is not None
        assert status.camera.frames_captured == 100
        messages = subscriber.wait(
            lambda got: any(_camera_state(one.fields) == "ended" for one in got), "the report", 30
        )
        assert device.is_running()
    for report in telemetry(messages):
        _validator("telemetry-v1.schema.json").validate(report)


def _camera_state(report: dict[str, Any]) -> str | None:
    camera = report["sys"]["camera"]
    return camera["state"] if camera else None


def test_the_schema_knows_every_state_a_camera_can_have() -> None:
    schema = json.loads((resources.files("edgeapp") / "schemas" / "telemetry-v1.schema.json").read_text())
    camera = schema["properties"]["sys"]["properties"]["camera"]["properties"]
    assert set(camera["state"]["enum"]) == {state.value for state in CaptureState}
    assert set(camera["picture"]["enum"]) == {verdict.value for verdict in Verdict}
