"""`edgeapp doctor` as a technician runs it: with a real broker, up, down and strict, and beside a running daemon."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeapp.doctor.checks import Machine, all_checks
from edgeapp.doctor.report import Judgement
from tests.fakes.broker import Broker, free_port
from tests.fakes.device import Device


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


def doctor(device: Device, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = device.command("doctor", "--json", "--config", str(device.config_path), *arguments)
    return done.returncode, json.loads(done.stdout)


def broker_finding(device: Device, limit_s: float = 5.0) -> Judgement:
    device.write_config()
    checks = all_checks(device.config_path, Machine(broker_limit_s=limit_s))
    return next(check for check in checks if check.name == "broker").look()


def test_a_good_device_has_no_failure_and_ends_with_0(tmp_path: Path, broker: Broker) -> None:
    device = Device(tmp_path / "device", port=broker.port)
    device.write_config()
    status, found = doctor(device)
    assert [check["name"] for check in found["checks"]] == [
        "config", "board", "runtime", "heat", "power", "clock", "model", "camera", "broker", "tuning", "user",
        "memory", "state_dir", "runtime_dir", "model_dir",
    ]  # fmt: skip
    failed = [check for check in found["checks"] if check["level"] == "fail"]
    assert failed == []
    assert status == 0
    assert found["level"] in ("ok", "warn")
    camera = next(check for check in found["checks"] if check["name"] == "camera")
    assert camera["found"].startswith("video, 320 x 240 MJPG")


def test_a_wrong_configuration_fails_and_ends_with_1(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", port=free_port(), mqtt={"keepalive": 60})
    device.write_config()
    status, found = doctor(device)
    assert (status, found["level"]) == (1, "fail")
    assert "mqtt.keepalive" in found["checks"][0]["found"]


def test_a_person_reads_lines_with_what_to_do(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", port=free_port(), camera={"source": str(tmp_path / "missing.avi")})
    device.write_config()
    done = device.command("doctor", "--config", str(device.config_path))
    assert done.returncode == 1
    assert f"FAIL  broker       127.0.0.1:{device.config['mqtt']['port']}: connection refused" in done.stdout
    assert "→ start the broker" in done.stdout
    assert "2 failed: camera, broker" in done.stdout.splitlines()[-1]
    assert done.stderr == ""


def test_what_is_found_stands_on_one_line_where_a_program_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(tmp_path / "device", port=free_port(), camera={"source": str(tmp_path / "missing.avi")})
    device.write_config()
    monkeypatch.setenv("COLUMNS", "40")
    rows = device.command("doctor", "--config", str(device.config_path)).stdout.splitlines()
    camera = next(row for row in rows if row.startswith("FAIL  camera"))
    assert len(camera) > 40
    assert camera.endswith(next(one["found"] for one in doctor(device)[1]["checks"] if one["name"] == "camera"))


def test_a_running_device_keeps_its_camera_and_its_connection(tmp_path: Path, broker: Broker) -> None:
    with Device(tmp_path / "device", port=broker.port) as device:
        device.wait(lambda status: status.broker.is_connected, "the broker")
        before = device.wait_inferring()
        _, found = doctor(device)
        by_name = {check["name"]: check for check in found["checks"]}
        assert by_name["camera"]["found"].startswith("in use by edgeapp, which says: video, 320 x 240")
        assert by_name["broker"]["level"] == "ok"
        after = device.wait_inferring()
        assert after.broker.is_connected
        assert after.broker.since_s == pytest.approx(before.broker.since_s, abs=0.1)
        assert after.vision_pid == before.vision_pid


def test_a_broker_that_welcomes_us(tmp_path: Path, broker: Broker) -> None:
    found = broker_finding(Device(tmp_path / "device", port=broker.port))
    assert found.level == "ok"
    assert f"127.0.0.1:{broker.port}: welcomes us after" in found.found


def test_a_broker_that_is_down(tmp_path: Path, broker: Broker) -> None:
    broker.stop()
    found = broker_finding(Device(tmp_path / "device", port=broker.port))
    assert (found.level, "connection refused" in found.found) == ("fail", True)


def test_a_wrong_password_and_the_right_one(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    with Broker(tmp_path / "strict", users={"door": "right"}) as strict:
        access = {"username": "door", "password_file": str(secret)}
        device = Device(tmp_path / "device", port=strict.port, mqtt=access)
        found = broker_finding(device)
        assert (found.level, "not authorised" in found.found) == ("fail", True)
        assert "mqtt.password_file" in found.do
        secret.write_text("right\n")
        assert broker_finding(device).level == "ok"


def test_a_port_that_accepts_and_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        device = Device(tmp_path / "device", port=silent.getsockname()[1])
        found = broker_finding(device, limit_s=0.5)
    assert (found.level, "no answer within 0.5 s" in found.found) == ("fail", True)
