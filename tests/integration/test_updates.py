"""The whole way of an update on a real daemon, with a real broker, real signatures and real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.broker import Broker
from tests.fakes.gate import Gate
from tests.fakes.subscriber import Subscriber
from tests.fakes.updating_device import PROBATION, UpdatingDevice, events, phases

WAY = ["received", "verified", "downloading", "staged", "selftest", "standby", "trial"]
ENDLESS = {**PROBATION, "duration_s": 600.0}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def device(tmp_path: Path, broker: Broker) -> Iterator[UpdatingDevice]:
    # Every frame of the camera is wanted.
    with UpdatingDevice(tmp_path / "device", port=broker.port, inference={"max_fps": 60.0}) as one:
        yield one


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as one:
        yield one


def _wait_phases(subscriber: Subscriber, *expected: str) -> None:
    """Wait until the events' phases are these."""

    def are_there(_: object) -> bool:
        return len(phases(subscriber)) >= len(expected)

    subscriber.wait(are_there, " ".join(expected))
    assert tuple(phases(subscriber)) == expected, events(subscriber)


def test_a_release_is_installed_and_committed_and_inference_goes_on(
    device: UpdatingDevice, subscriber: Subscriber
) -> None:
    """That the switch costs no frame is held by test_trial_in_use.py, where no busy core can drop one."""
    device.release(2)
    before = device.wait_inferring()
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *WAY, "committed")
    assert events(subscriber)[-1]["active"]["version"] == 2
    after = device.wait(lambda one: one.model is not None and one.model.version == 2, "the new model")
    assert before.camera is not None
    assert after.camera is not None
    captured = after.camera.frames_captured - before.camera.frames_captured
    assert after.frames_inferred - before.frames_inferred > 0.3 * captured > 10
    assert (after.failures, after.vision_restarts) == (0, {})

    device.publish(device.message("rollback", allow_downgrade=True))  # to the factory model
    _wait_phases(subscriber, *WAY, "committed", "rolled_back")
    device.wait(lambda one: one.model is not None and one.model.version == 1, "the factory model")
    assert device.state().active is None
    assert device.state().version_floor == 2


def test_a_torn_model_never_becomes_active(device: UpdatingDevice, subscriber: Subscriber) -> None:
    def tear(folder: Path) -> None:
        path = folder / "model.tflite"
        path.write_bytes(path.read_bytes()[:3000])

    device.release(2, spoil=tear)
    device.wait_inferring()
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *WAY[:5], "failed E_LOAD")
    status = device.wait_inferring()
    assert status.model is not None
    assert (status.model.version, status.vision_restarts) == (1, {})


def test_an_update_goes_on_after_kills_while_it_is_fetched_and_tried(
    device: UpdatingDevice, subscriber: Subscriber
) -> None:
    device.release(2, probation={**PROBATION, "duration_s": 4.0})
    hidden = device.stick.rename(device.stick.with_name("hidden"))
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *WAY[:3])
    device.kill()
    hidden.rename(device.stick)
    device.start()
    _wait_phases(subscriber, *WAY[:3], *WAY[1:])
    device.wait_update(lambda one: one.trial_s > 0.5, "the trial")
    device.kill()
    assert device.state().active is None
    device.start()
    _wait_phases(subscriber, *WAY[:3], *WAY[1:], "committed")
    assert device.state().before_trial is None
    assert device.wait_inferring().model.version == 2  # type: ignore[union-attr]


def test_cancel_in_the_trial_pin_and_status(device: UpdatingDevice, subscriber: Subscriber) -> None:
    device.release(2, probation=ENDLESS)
    device.wait_inferring()
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *WAY)
    device.wait(lambda one: one.model is not None and one.model.version == 2, "the candidate")
    device.publish(device.message("cancel"))
    _wait_phases(subscriber, *WAY, "cancelled", "cancelled")
    assert [one["command"]["id"].partition("-")[0] for one in events(subscriber)[-2:]] == ["install", "cancel"]
    device.wait(lambda one: one.model is not None and one.model.version == 1, "the factory model")
    device.publish(device.message("pin"))
    _wait_phases(subscriber, *WAY, "cancelled", "cancelled", "committed")
    device.publish(device.message(version=2))
    _wait_phases(subscriber, *WAY, "cancelled", "cancelled", "committed", "refused E_PINNED")
    device.publish(device.message("status"))
    subscriber.wait(lambda all_: any(one.topic.endswith("/cmd-result") for one in all_), "the answer")
    answer = next(one.fields for one in subscriber.messages if one.topic.endswith("/cmd-result"))
    assert answer["update"]["is_pinned"]
    assert [one["outcome"] for one in answer["update"]["history"]][:2] == ["cancelled", "cancelled"]


def test_a_newer_command_supersedes_and_an_end_without_a_broker_is_told_later(
    tmp_path: Path, subscriber: Subscriber, broker: Broker
) -> None:
    # And with a broker that knows MQTT 3.1.1 only.
    with Gate(broker.port, answer_to_v5=b"") as gate, UpdatingDevice(tmp_path / "device", port=gate.port) as device:
        device.release(2, probation=ENDLESS)
        device.release(3, probation={**PROBATION, "duration_s": 4.0})
        device.wait_inferring()
        device.publish(device.message(version=2))
        _wait_phases(subscriber, *WAY)
        device.publish(device.message(version=3))
        _wait_phases(subscriber, *WAY, "superseded", *WAY)
        gate.shut()
        device.wait_update(lambda one: one.active == "bright-spot 3" and one.phase == "idle", "the commit")
        assert phases(subscriber)[-1] == "trial"
        gate.open()
        _wait_phases(subscriber, *WAY, "superseded", *WAY, "committed")


def test_blocks_that_the_broker_retains_make_a_release(tmp_path: Path, broker: Broker, subscriber: Subscriber) -> None:
    with UpdatingDevice(tmp_path / "device", port=broker.port, updates={"blocks": True}) as device:
        device.release(2)
        for path in (device.stick / "targets" / "blobs").iterdir():
            device.publish(path.read_bytes(), f"edgeapp/v1/default/blobs/{path.name}/0")
            path.unlink()
        device.wait_inferring()
        device.publish(device.message(version=2))
        _wait_phases(subscriber, *WAY, "committed")


def test_a_flood_of_commands_leaves_the_device_at_work(device: UpdatingDevice, subscriber: Subscriber) -> None:
    before = device.wait_inferring()
    device.flood(10_000)
    device.release(2)
    device.publish(device.message(version=2, seq=1 << 40))
    subscriber.wait(lambda _: "committed" in phases(subscriber), "the commit")
    refused = [one for one in events(subscriber) if one["phase"] == "refused"]
    assert 0 < len(refused) <= 20
    assert {one["code"] for one in refused} <= {"E_PARSE", "E_SIG"}
    assert device.wait_inferring().pid == before.pid


def test_a_device_none_of_whose_models_runs_lives_on_and_is_healed_by_an_install(
    tmp_path: Path, broker: Broker, subscriber: Subscriber
) -> None:
    device = UpdatingDevice(tmp_path / "device", port=broker.port)
    (device.folder / "model" / "model.tflite").write_bytes(b"nothing")
    with device:
        device.release(2)
        device.wait_update(lambda one: one.is_safe_mode, "safe mode")
        assert "SAFE MODE" in device.command("status", "--config", str(device.config_path)).stdout
        device.publish(device.message(version=2))
        _wait_phases(subscriber, *WAY, "committed")
        assert device.wait_inferring().model.version == 2  # type: ignore[union-attr]
