"""The checks on fake trees, real tiny models and real small recordings; native code that crashes or hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from edgeapp.doctor import judge
from edgeapp.doctor.checks import Machine, _may, all_checks
from edgeapp.doctor.judge import Person
from edgeapp.doctor.report import Finding
from tests.fakes.broker import free_port
from tests.fakes.tiny_models import make_model_folder

_CRASHES = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
_HANGS = (sys.executable, "-c", "import time; time.sleep(60)")
_SAYS_ITS_ARGUMENTS = (
    sys.executable,
    "-c",
    "import sys, json; print(json.dumps({'trouble': {'code': '', 'text': ' '.join(sys.argv)}}))",
)


def configure(folder: Path, **sections: dict[str, Any]) -> Path:
    """A configuration whose model and folders are there; `sections` are merged into it."""
    if not (folder / "model").exists():
        make_model_folder(folder / "model")
    (folder / "state").mkdir(exist_ok=True)
    (folder / "run").mkdir(exist_ok=True)
    config: dict[str, dict[str, Any]] = {
        "device": {"id": "door-7"},
        "camera": {"kind": "images", "source": str(folder / "images"), "fps": 20.0},
        "inference": {"model_dir": str(folder / "model")},
        "mqtt": {"host": "127.0.0.1", "port": free_port()},
        "paths": {"state_dir": str(folder / "state"), "runtime_dir": str(folder / "run")},
    }
    for name, section in sections.items():
        config.setdefault(name, {}).update(section)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def finding(name: str, config_path: Path, machine: Machine | None = None) -> Finding:
    found = [check for check in all_checks(config_path, machine or Machine()) if check.name == name]
    assert len(found) == 1, f"one check {name}"
    return found[0].look()


def write_images(folder: Path, level: int) -> None:
    folder.mkdir()
    for index in range(3):
        picture = np.full((48, 64, 3), level, np.uint8)
        picture[: 10 + index, : 2 * level // 8] = 255 if level else 0
        cv2.imwrite(str(folder / f"{index}.png"), picture)


def test_importing_the_checks_loads_neither_opencv_nor_a_runtime() -> None:
    code = (
        "import sys, edgeapp.doctor.examine; "
        "sys.exit(any(name.startswith(('cv2', 'ai_edge_litert', 'tflite_runtime')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_a_configuration_what_needs_none_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "missing.yaml"
    names = [check.name for check in all_checks(path, Machine())]
    assert names == [
        "config", "board", "runtime", "heat", "power", "clock", "user", "memory", "state_dir", "runtime_dir",
    ]  # fmt: skip
    found = finding("config", path)
    assert (found.level, "no such file" in found.found) == ("fail", True)


def test_every_mistake_of_the_configuration_is_listed(tmp_path: Path) -> None:
    path = configure(tmp_path, mqtt={"port": 0}, inference={"threads": 99})
    found = finding("config", path)
    assert found.level == "fail"
    assert {line.split(": ")[1] for line in found.found.splitlines()} == {"mqtt.port", "inference.threads"}


def test_the_runtime_of_this_machine_runs_the_smallest_model(tmp_path: Path) -> None:
    found = finding("runtime", tmp_path / "missing.yaml")
    assert found.level == "ok"
    assert "ai-edge-litert" in found.found


@pytest.mark.parametrize("name", ["runtime", "model", "camera"])
def test_native_code_that_crashes_is_a_line_that_names_the_signal(tmp_path: Path, name: str) -> None:
    found = finding(name, configure(tmp_path), Machine(child=_CRASHES))
    assert found.level == "fail"
    assert "crashes: the process that tried it was ended by SIGSEGV" in found.found


def test_native_code_that_hangs_is_a_line(tmp_path: Path) -> None:
    machine = Machine(child=_HANGS, runtime_limit_s=0.2, camera_limit_s=0.2)
    path = configure(tmp_path)
    for name in ("runtime", "camera"):
        found = finding(name, path, machine)
        assert (found.level, "hangs: no answer within 0.2 s" in found.found) == ("fail", True)


def test_a_child_that_talks_nonsense_is_a_line(tmp_path: Path) -> None:
    found = finding("camera", configure(tmp_path), Machine(child=(sys.executable, "-c", "print('hello')")))
    assert found.level == "fail"


def test_a_python_error_in_the_child_shows_its_last_lines(tmp_path: Path) -> None:
    found = finding("runtime", configure(tmp_path), Machine(child=(sys.executable, "-c", "import nothing_like_it")))
    assert "No module named 'nothing_like_it'" in found.found


def test_a_streams_password_is_on_no_command_line(tmp_path: Path) -> None:
    path = configure(tmp_path, camera={"kind": "rtsp", "source": "rtsp://user:geheim@127.0.0.1:1/x"})
    found = finding("camera", path, Machine(child=_SAYS_ITS_ARGUMENTS))
    assert "camera --parent" in found.found
    assert "geheim" not in found.found


def test_the_configured_model_is_loaded_and_run(tmp_path: Path) -> None:
    found = finding("model", configure(tmp_path))
    assert found.found.startswith("bright-spot 1 (int8) on ai-edge-litert")
    assert "xnnpack took" in found.found


def test_an_int8_model_without_a_delegate_is_told_in_full(tmp_path: Path) -> None:
    found = finding("model", configure(tmp_path, inference={"delegate": "none"}))
    assert "no delegate took any of 5 nodes, left: 2 CONV_2D, 2 RESHAPE, 1 LOGISTIC" in found.found


def test_a_model_quantized_per_tensor_is_warned_of(tmp_path: Path) -> None:
    make_model_folder(tmp_path / "model", dtype="uint8")
    found = finding("model", configure(tmp_path))
    assert (found.level, "per tensor" in found.found) == ("warn", True)
    assert "per channel" in found.do


def test_a_damaged_model_is_told_with_its_path(tmp_path: Path) -> None:
    path = configure(tmp_path)
    model = tmp_path / "model" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    found = finding("model", path)
    assert found.level == "fail"
    assert str(model) in found.found
    assert "sha256" in found.found


def test_a_source_with_a_picture_is_ok_and_leaves_no_file(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 120)
    path = configure(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    found = finding("camera", path)
    assert found.level == "ok"
    assert found.found.startswith("images, 64 x 48 images, ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_black_picture_is_noticed(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 0)
    found = finding("camera", configure(tmp_path))
    assert found.level == "fail"
    assert "the picture is black" in found.found


def test_a_source_that_is_not_there_says_where_it_looked(tmp_path: Path) -> None:
    found = finding("camera", configure(tmp_path))
    assert found.level == "fail"
    assert str(tmp_path / "images") in found.found


def test_a_camera_that_is_not_plugged_in(tmp_path: Path) -> None:
    path = configure(tmp_path, camera={"kind": "v4l2", "source": "/dev/video-not-there"})
    found = finding("camera", path)
    assert (found.level, "/dev/video-not-there" in found.found) == ("fail", True)
    assert "/dev/v4l/by-id" in found.do


def zone(root: Path, text: str, kind: str = "cpu-thermal") -> Machine:
    folder = root / "class" / "thermal" / "thermal_zone0"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(text)
    return Machine(sysfs=root)


def test_the_temperature_comes_from_the_chips_zone(tmp_path: Path) -> None:
    assert finding("heat", tmp_path / "none.yaml", zone(tmp_path / "cool", "54300\n")).found == "54 °C"
    assert finding("heat", tmp_path / "none.yaml", zone(tmp_path / "hot", "83000\n")).level == "warn"


def test_a_zone_that_may_not_be_the_chips_is_named_and_not_believed(tmp_path: Path) -> None:
    found = finding("heat", tmp_path / "none.yaml", zone(tmp_path, "91000\n", "acpitz"))
    assert found.level == "ok"
    assert f"acpitz in {tmp_path}/class/thermal/thermal_zone0/temp" in found.found
    assert "thermal.sensor_path" in found.do
    silent = finding("heat", tmp_path / "none.yaml", zone(tmp_path / "silent", "0\n", "acpitz"))
    assert silent.found == "this board tells no temperature"


def test_a_sensor_that_is_configured_and_not_there_is_warned_of(tmp_path: Path) -> None:
    path = configure(tmp_path, thermal={"sensor_path": str(tmp_path / "no-sensor")})
    assert finding("heat", path, Machine(sysfs=tmp_path)).level == "warn"


@pytest.mark.parametrize("soc", ["soc/soc:firmware", "soc@107c000000/soc@107c000000:firmware"])
def test_the_firmwares_bits_come_from_sysfs(tmp_path: Path, soc: str) -> None:
    path = tmp_path / "devices" / "platform" / soc / "get_throttled"
    path.parent.mkdir(parents=True)
    path.write_text("50005\n")
    found = finding("power", tmp_path / "none.yaml", Machine(sysfs=tmp_path))
    assert (found.level, found.found) == ("fail", "under-voltage now; throttled now")


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_the_firmwares_bits_come_from_vcgencmd_where_sysfs_has_none(tmp_path: Path) -> None:
    program = script(tmp_path / "vcgencmd", '[ "$1" = get_throttled ] && echo throttled=0x10000')
    found = finding("power", tmp_path / "none.yaml", Machine(sysfs=tmp_path, vcgencmd=program))
    assert (found.level, found.found) == ("warn", "under-voltage: has occurred")


def test_a_vcgencmd_that_fails_is_as_none(tmp_path: Path) -> None:
    tree = tmp_path / "device-tree"
    tree.mkdir()
    (tree / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    program = script(tmp_path / "vcgencmd", "echo VCHI initialization failed; exit 255")
    found = finding("power", tmp_path / "none.yaml", Machine(sysfs=tmp_path, proc=tmp_path, vcgencmd=program))
    assert (found.level, found.do) == ("warn", "as root:  vcgencmd get_throttled")


def test_the_voltage_alarm_counts_where_there_are_no_bits(tmp_path: Path) -> None:
    sensor = tmp_path / "class" / "hwmon" / "hwmon1"
    sensor.mkdir(parents=True)
    (sensor / "name").write_text("rpi_volt\n")
    (sensor / "in0_lcrit_alarm").write_text("1\n")
    found = finding("power", tmp_path / "none.yaml", Machine(sysfs=tmp_path, vcgencmd=str(tmp_path / "none")))
    assert (found.level, found.found) == ("fail", "under-voltage now")


def test_the_clock_is_judged_as_the_daemon_judges_it(tmp_path: Path) -> None:
    said = {
        answer: finding("clock", tmp_path / "none.yaml", Machine(is_synchronised=lambda answer=answer: answer))  # type: ignore[misc]
        for answer in (True, False, None)
    }
    assert {answer: one.level for answer, one in said.items()} == {True: "ok", False: "warn", None: "warn"}
    assert all("no counts are released and no updates installed" in said[answer].found for answer in (False, None))


def test_a_clock_that_stands_in_the_past_fails_even_if_it_is_called_synchronised(tmp_path: Path) -> None:
    machine = Machine(is_synchronised=lambda: True, wall_s=lambda: 0.0)
    assert finding("clock", tmp_path / "none.yaml", machine).level == "fail"


def test_folders_are_tried_and_left_as_they_were(tmp_path: Path) -> None:
    path = configure(tmp_path)
    for name, folder in (("state_dir", "state"), ("runtime_dir", "run")):
        found = finding(name, path)
        assert (found.level, str(tmp_path / folder) in found.found) == ("ok", True)
        assert list((tmp_path / folder).iterdir()) == []


def test_a_folder_that_nobody_can_write_fails(tmp_path: Path) -> None:
    # Not even root makes files in /proc.
    found = finding("state_dir", configure(tmp_path, paths={"state_dir": "/proc"}))
    assert found.level == "fail"


def test_a_folder_that_edgeapp_will_make_is_well(tmp_path: Path) -> None:
    path = configure(tmp_path, paths={"state_dir": str(tmp_path / "a" / "b" / "c")})
    assert finding("state_dir", path).found.endswith("edgeapp makes it")
    assert not (tmp_path / "a").exists()


def test_the_room_that_the_spool_has_taken_already_is_not_asked_for_again(tmp_path: Path) -> None:
    path = configure(tmp_path, telemetry={"spool_max_reports": 1_000_000})
    needed_bytes = 1_000_000 * judge.SPOOL_REPORT_BYTES
    with (tmp_path / "state" / "spool.db").open("wb") as file:
        file.truncate(needed_bytes)  # a hole: takes no room
    assert finding("state_dir", path).level == "ok"


def test_a_password_file_for_everybody_fails(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    path = configure(tmp_path, mqtt={"username": "door-7", "password_file": str(secret)})
    secret.chmod(0o644)
    assert finding("password", path).level == "fail"
    secret.chmod(0o600)
    found = finding("password", path)
    assert found.level == "ok"
    assert "geheim" not in found.found


def test_another_user_is_judged_by_the_bits_of_the_whole_way(tmp_path: Path) -> None:
    stranger = Person(name="stranger", uid=54321, groups={54321: "stranger"})
    assert _may(stranger, Path("/"), judge.READ | judge.PASS)
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    tmp_path.chmod(0o700)
    assert not _may(stranger, folder, judge.READ)
    assert not _may(stranger, tmp_path / "missing", judge.READ)
