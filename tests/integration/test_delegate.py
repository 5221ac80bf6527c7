"""A whole device with a delegate library that crashes, and with a measurement of what is best."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeapp.doctor.checks import Machine, all_checks
from edgeapp.status import Status
from edgeapp.vision.tuning import Measured, Tuning
from edgeapp.vision.tuning_store import TuningStore, find_key
from tests.fakes.broker import Broker, free_port
from tests.fakes.delegates import shim
from tests.fakes.device import Device, telemetry
from tests.fakes.subscriber import Subscriber


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as started:
        yield started


def test_a_library_that_crashes_in_use_costs_one_restart_and_everybody_is_told(tmp_path: Path, broker: Broker) -> None:
    library = shim("crash_later", invokes=30)  # its trial is shorter
    inference = {"delegate": dataclasses.asdict(library)}
    device = Device(tmp_path / "device", port=broker.port, inference=inference)
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/telemetry") as subscriber, device:
        device.wait(lambda now: _delegate(now) == "libshim.so", "the library to run")
        device.wait(lambda now: _delegate(now) == "xnnpack", "XNNPACK to take its place")
        status = device.wait(lambda now: now.frames_inferred > 60, "more frames than the library lives for")
        assert status.vision_restarts == {"died": 1}
        assert status.model is not None
        reason = f"{library.library}: with it, vision was ended by SIGSEGV"
        assert status.model.delegate.fell_back == reason
        shown = device.command("status", "--config", str(device.config_path)).stdout
        assert f"XNNPACK runs in place of the delegate library {reason}" in " ".join(shown.split())  # it is wrapped
        assert f"WARNING: model: XNNPACK runs in place of the delegate library {reason}" in device.log
        messages = subscriber.wait(
            lambda got: any(one["model"]["delegate"]["fell_back"] for one in telemetry(got) if one["model"]), "a report"
        )
        assert all(str(tmp_path).encode() not in one.payload for one in messages)

        device.config["inference"]["delegate"]["options"]["behaviour"] = "take"
        device.write_config()
        device.signal(signal.SIGHUP)
        mended = device.wait(lambda now: _delegate(now) == "libshim.so", "the library to be tried again")
        assert mended.model is not None
        assert mended.model.advice == ()
        device.wait_inferring()
        assert device.stop()[0] == 0


def _delegate(status: Status) -> str:
    return status.model.delegate.name if status.model else ""


def test_doctor_tells_of_a_library_that_crashes_as_of_any_other_trouble(tmp_path: Path) -> None:
    inference = {"delegate": dataclasses.asdict(shim("crash_create"))}
    device = Device(tmp_path / "device", port=free_port(), inference=inference)
    device.write_config()
    (model,) = [check.look() for check in all_checks(device.config_path, Machine()) if check.name == "model"]
    assert model.level == "warn"
    assert "in its trial: the process was ended by SIGSEGV" in model.found
    assert "correct inference.delegate" in model.do


def test_tune_measures_this_board_and_the_daemon_takes_the_choice(tmp_path: Path) -> None:
    device = Device(tmp_path / "device", port=free_port())
    device.write_config()
    state_dir = device.folder / "state"
    refused = device.command("tune", "--config", str(device.config_path))
    assert (refused.returncode, "state_dir" in refused.stderr) == (1, True)
    state_dir.mkdir()
    done = device.command("tune", "--json", "--config", str(device.config_path))
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["measured"]
    assert [row["chosen"] for row in rows].count(True) == 1
    assert {(row["delegate"], row["threads"]) for row in rows} >= {("xnnpack", 1), ("none", 1)}
    (chosen,) = [row for row in rows if row["chosen"]]
    with device:
        status = device.wait(lambda now: now.model is not None, "the model")
        assert status.model is not None
        assert (status.model.delegate.name, status.model.threads) == (chosen["delegate"], chosen["threads"])
        assert "measured best here" in device.log
        running = device.command("tune", "--config", str(device.config_path))
        assert (running.returncode, "Stop it" in running.stderr) == (1, True)
        device.stop()
    # Another measurement, another choice.
    key = find_key(device.folder / "model")
    best = Measured(delegate="none", threads=2, median_ms=1.0, p99_ms=1.0)
    TuningStore(state_dir).keep(Tuning(key=key, measured=(best,)))
    with device:
        status = device.wait(lambda now: now.model is not None, "the model")
        assert status.model is not None
        assert (status.model.delegate.name, status.model.threads) == ("none", 2)
