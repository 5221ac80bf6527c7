"""Counts on their whole way: what is released, what the world beyond this memory sees, and what it never sees."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeapp.telemetry import noise
from tests.fakes.broker import Broker
from tests.fakes.device import Device
from tests.fakes.release_drill import drill
from tests.fakes.releasing_device import ReleasingDevice
from tests.fakes.subscriber import Received, Subscriber

NOON_S = 1_699_963_200.0


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    text = (resources.files("edgeapp") / "schemas" / "counts-v1.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


def quarters(messages: list[Received]) -> list[dict[str, Any]]:
    reports = [one.fields for one in messages if one.topic.endswith("/counts")]
    return [report for report in reports if report["level"] == "quarter"]


def test_what_the_camera_sees_arrives_as_noised_counts(
    broker: Broker, tmp_path: Path, schema: jsonschema.Draft202012Validator
) -> None:
    """The square walks through every 4 s; its quarters of an hour are a second long."""
    privacy = {"epsilon_per_day": 20.0, "shares": {"entered": 1.0, "confidence": 0.0}}
    device = Device(
        tmp_path, port=broker.port, program="tests.fakes.fast_daemon", privacy=privacy, telemetry={"window_s": 86_400}
    )
    with Subscriber(broker.port, "edgeapp/v1/default/test-device/#") as subscriber, device:
        messages = subscriber.wait(
            lambda got: sum(report["counts"]["entered"]["person"] for report in quarters(got)) >= 2, "tracks"
        )
        assert device.stop()[0] == 0
    counts = [one for one in messages if one.topic == "edgeapp/v1/default/test-device/counts"]
    for one in counts:
        assert not one.is_retained
        schema.validate(one.fields)
    windows = [(one.fields["level"], one.fields["win"]["index"]) for one in counts]
    assert len(windows) == len(set(windows))
    told = [report["win"]["index"] for report in quarters(messages)]
    assert told == list(range(told[0], told[-1] + 1)), "each window, also those in which nobody came"
    assert len({len(one.payload) for one in counts if one.fields["level"] == "quarter"}) == 1
    assert {report["model"]["name"] for report in quarters(messages)} == {"bright-spot"}


def test_random_kills_clocks_and_lost_ledgers_give_no_window_two_contents(tmp_path: Path) -> None:
    """The longer run is scripts/release-drill."""
    seen = drill(tmp_path, 10, seed=11)
    assert seen.ends["spool lost"] >= 1
    assert seen.ends["clock back"] >= 1
    assert len(seen.contents) > 50
    assert seen.renoised == 0
    assert seen.worst_epsilon <= seen.epsilon_per_day


def test_after_a_reboot_with_the_clock_gone_back_nothing_is_told_until_it_has_caught_up(tmp_path: Path) -> None:
    def indices(wall_s: float, steps: int) -> list[int]:
        device = ReleasingDevice(tmp_path, wall_s)
        for _ in range(steps):
            device.advance(300)
        device.spool.close()
        reports = [json.loads(payload) for _, kind, payload in device.spool.next_batch(1000) if kind == "counts"]
        return [report["win"]["index"] for report in reports if report["level"] == "quarter"]

    noon = int(NOON_S) // 900
    assert indices(NOON_S, 13) == [noon + 1, noon + 2, noon + 3]
    assert indices(NOON_S - 7200, 24) == [noon + 1, noon + 2, noon + 3], "nothing new"
    assert indices(NOON_S, 19)[3:] == [noon + 4, noon + 5]


def test_a_disk_that_was_full_delays_counts_and_noises_none_of_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = ReleasingDevice(tmp_path, NOON_S)
    for _ in range(4):
        device.advance(300)
    draws: list[Fraction] = []
    draw = noise.discrete_laplace
    monkeypatch.setattr(noise, "discrete_laplace", lambda scale: draws.append(scale) or draw(scale))
    folder, aside = device.spool._path.parent, tmp_path.with_name("aside")
    device.spool.close()
    folder.rename(aside)
    for _ in range(6):
        device.advance(300)
    drawn = len(draws)
    assert drawn
    aside.rename(folder)
    device.advance(20)
    assert len(draws) == drawn
    reports = [json.loads(payload) for _, kind, payload in device.spool.next_batch(100) if kind == "counts"]
    told = [report["win"]["index"] for report in reports if report["level"] == "quarter"]
    assert told == [int(NOON_S) // 900 + number for number in (1, 2)]
    device.spool.close()


def test_nothing_that_is_written_holds_the_true_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14,738 tracks in one quarter: a number that is found wherever it stands."""
    draw = noise.discrete_laplace
    monkeypatch.setattr(noise, "discrete_laplace", lambda scale: draw(scale) or 1)  # or chance would write it
    crowds = [200] * 73 + [138]

    def everything() -> bytes:
        shown = json.dumps(asdict(device.pipeline.health())) + caplog.text
        return shown.encode() + b"".join(path.read_bytes() for path in tmp_path.iterdir())

    with caplog.at_level(logging.DEBUG):
        device = ReleasingDevice(tmp_path, NOON_S)
        device.advance(0)
        device.advance(900)  # a new ledger releases nothing of the first window
        for people in crowds:
            device.see(people)
            for _ in range(2):
                device.advance(0.2)
                device.see(0)
        written = everything()
        device.advance(90_000)
        written += everything()  # with the write-ahead log
        device.stop()
        written += everything()
    reports = [json.loads(payload) for _, kind, payload in device.spool.next_batch(1000) if kind == "counts"]
    told = {report["level"]: report["counts"]["entered"]["person"] for report in reports}
    true = sum(crowds)
    assert abs(told["quarter"] - true) < 1000, "the traffic was counted"
    assert str(told["quarter"]).encode() in written, "the search finds what is there"
    assert str(true).encode() not in written
