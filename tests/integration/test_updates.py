"""The whole way of an update on a real daemon, with a real broker, real signatures and real models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.broker import Broker
from tests.fakes.device import telemetry
from tests.fakes.subscriber import Subscriber
from tests.fakes.updating_device import UpdatingDevice, events, phases

WAY = ["received", "verified", "downloading", "staged", "selftest", "standby", "trial"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as one:
        yield one


@pytest.fixture
def device(tmp_path: Path, broker: Broker) -> Iterator[UpdatingDevice]:
    with UpdatingDevice(tmp_path / "device", port=broker.port) as one:
        yield one


@pytest.fixture
def subscriber(broker: Broker) -> Iterator[Subscriber]:
    with Subscriber(broker.port) as one:
        yield one


def _wait_phase(subscriber: Subscriber, phase: str) -> None:
    subscriber.wait(lambda _: any(each.startswith(phase) for each in phases(subscriber)), phase)


def test_a_release_is_installed_and_committed_and_no_frame_is_lost(
    device: UpdatingDevice, subscriber: Subscriber
) -> None:
    device.release(2)
    device.wait_inferring()
    device.publish(device.message(version=2))
    _wait_phase(subscriber, "committed")
    assert phases(subscriber) == [*WAY, "committed"]
    last = events(subscriber)[-1]
    assert last["active"]["version"] == 2
    assert device.state().active is not None
    status = device.wait(lambda one: one.model is not None and one.model.version == 2, "the new model")
    assert status.failures == 0
    assert not status.vision_restarts
    device.stop()
    lost = [(report["frames"], report["inf"]) for report in telemetry(subscriber.messages)]
    print(lost)
