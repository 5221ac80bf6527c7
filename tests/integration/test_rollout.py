"""The operator's commands against a real broker and simulated devices."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgeapp.messaging.topics import Topics
from edgeapp.updates.command import read_message
from edgeapp.updates.release import Probation
from edgeapp.workshop import cli, fleet
from edgeapp.workshop.broker_link import BrokerLink
from edgeapp.workshop.history import History
from edgeapp.workshop.operator_config import load_workplace
from tests.fakes.broker import Broker
from tests.fakes.fleet import BAD, GOOD, TENANT, Desk, ScriptedMind, SimulatedFleet, scripted
from tests.fakes.fleet_process import DeviceProcesses, make_repository
from tests.fakes.releases import Repository

_COUNT = 20
_WAVES: list[dict[str, Any]] = [
    {"name": "canary", "devices": ["device-0000"]},
    {"name": "half", "pct": 50},
    {"name": "all", "pct": 100},
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, broker: Broker) -> Desk:
    return Desk(tmp_path / "desk", broker.port)


def _fleet(broker: Broker, minds: dict[str, ScriptedMind]) -> SimulatedFleet:
    return SimulatedFleet(broker.port, dict(minds))


def _touched(minds: dict[str, ScriptedMind]) -> set[str]:
    return {device for device, mind in minds.items() if mind.is_touched}


def _run(desk: Desk, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """The command in this process: its status and what it printed."""
    capsys.readouterr()
    status = cli.main(desk.arguments(*words))
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, found


def test_a_good_release_reaches_everybody(broker: Broker, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    minds = scripted(_COUNT)
    with _fleet(broker, minds):
        status, found = _run(desk, capsys, "rollout", "start", str(desk.write_plan(GOOD, _WAVES)), "--seq", "1")
    assert status == 0
    assert found["phase"] == "done"
    assert [mind.active.version for mind in minds.values()] == _COUNT * [GOOD]
    assert sum(wave["success"] for wave in found["waves"]) == _COUNT


@pytest.mark.parametrize("fate", ["bad", "silent"])
def test_a_bad_release_halts_with_the_canary(
    fate: str, broker: Broker, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    minds = scripted(_COUNT, mute=["device-0000"] if fate == "silent" else [])
    version = BAD if fate == "bad" else GOOD
    limit_s = 1 if fate == "silent" else 60
    waves = [{**_WAVES[0], "report_timeout_s": limit_s}, *_WAVES[1:]]
    plan = desk.write_plan(version, waves, halt_timeout_s=limit_s)
    with _fleet(broker, minds):
        status, found = _run(desk, capsys, "rollout", "start", str(plan), "--seq", "1")
        _, fleet = _run(desk, capsys, "devices", "list")
        _, again = _run(desk, capsys, "rollout", "start", str(plan), "--dry-run")
    errors = [device["last_error"]["code"] for device in fleet["devices"] if device["last_error"]]
    assert errors == (["E_TRIAL_LATENCY"] if fate == "bad" else [])
    refusing = [each["device"] for each in again["devices"] if each["code"] == "E_BLOCKED"]
    assert refusing == (["device-0000"] if fate == "bad" else [])
    assert status == 1
    assert found["phase"] == "halted"
    assert ("E_TRIAL_LATENCY" if fate == "bad" else "silent") in found["reason"]
    assert _touched(minds) == {"device-0000"}
    newest = max(minds["device-0000"].contents)
    (content,) = minds["device-0000"].contents[newest]
    assert read_message(content)[1]  # metadata rides along
    assert newest == 4  # after three waves: the cancel, which stays retained


def test_a_tool_that_is_killed_and_resumed_sends_nothing_twice_and_loses_nothing(
    broker: Broker, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    minds = scripted(_COUNT)
    plan = desk.write_plan(GOOD, _WAVES)
    with _fleet(broker, minds) as fleet:
        with desk.started("rollout", "start", str(plan), "--seq", "1"):
            _wait(lambda: minds["device-0000"].is_touched)  # killed at the first wave
        with desk.started("rollout", "watch"):
            _wait(lambda: len(_touched(minds)) > 1)  # and in the middle of the second
        status, found = _run(desk, capsys, "rollout", "watch")
        told = fleet.told()
    assert (status, found["phase"]) == (0, "done")
    assert [mind.active.version for mind in minds.values()] == _COUNT * [GOOD]
    assert all(len(contents) == 1 for mind in minds.values() for contents in mind.contents.values())
    with History(desk.state, TENANT) as history:
        assert {(event.device, event.seq) for _, event in history.events_after(0)} == told
        assert all(device.missing == 0 for device in history.devices())


def _wait(is_so: Any) -> None:
    deadline_s = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline_s, "waited 60 s"
        time.sleep(0.01)


def test_a_fleet_that_reports_without_pause_is_learnt_as_fast_as_a_quiet_one(broker: Broker, desk: Desk) -> None:
    workplace = load_workplace(desk.folder / "operator.yaml")
    is_enough = threading.Event()
    report = Topics(TENANT, "device-0001").report("telemetry")
    with _fleet(broker, scripted(3)) as devices, fleet.Fleet(workplace) as learning:

        def chatter() -> None:
            while not is_enough.wait(fleet._QUIET_S / 10):
                devices.devices["device-0001"].client.publish(report, b"{}")

        thread = threading.Thread(target=chatter)
        thread.start()
        began_s = time.monotonic()
        known = learning.learn()
        took_s = time.monotonic() - began_s
        is_enough.set()
        thread.join()
    assert known == {"device-0000", "device-0001", "device-0002"}
    assert took_s < fleet._LEARN_S / 2, "it ends by quiet, not by patience"


def test_a_tool_that_was_held_back_does_not_take_that_for_quiet(
    broker: Broker, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, pauses = BrokerLink.turn, [1.2 * fleet._QUIET_S]

    def turn_late(link: BrokerLink, timeout_s: float) -> None:
        if link.listening_since_s is not None and pauses:
            time.sleep(pauses.pop())  # and nothing was read
        else:
            turn(link, timeout_s)

    monkeypatch.setattr(BrokerLink, "turn", turn_late)
    with _fleet(broker, scripted(3)), fleet.Fleet(load_workplace(desk.folder / "operator.yaml")) as learning:
        assert learning.learn() == {"device-0000", "device-0001", "device-0002"}


def test_a_dry_run_touches_nobody(broker: Broker, desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    minds = scripted(_COUNT)
    with _fleet(broker, minds):
        status, found = _run(desk, capsys, "rollout", "start", str(desk.write_plan(GOOD, _WAVES)), "--dry-run")
    assert status == 0
    assert found["waves"][0] == ["device-0000"]
    assert sum(len(wave) for wave in found["waves"]) == _COUNT
    assert [each["device"] for each in found["devices"]] == [name for wave in found["waves"] for name in wave]
    assert {each["text"] for each in found["devices"]} == {"would try it"}
    trial_s = Probation().duration_s  # the manifest says nothing else
    gaps_s = [later["earliest"] - one["earliest"] for one, later in itertools.pairwise(found["starts"])]
    assert gaps_s == pytest.approx([trial_s + 0.2] * 2, abs=1)
    assert not _touched(minds)
    assert not (desk.state / "sequence.json").exists()


def test_gates_and_halts_are_followed_by_whoever_drives(
    broker: Broker, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    minds = scripted(_COUNT)
    waves = [_WAVES[0], {**_WAVES[1], "approval": True}, {**_WAVES[2], "approval": True}]
    plan = desk.write_plan(GOOD, waves, on_halt="rollback")
    with _fleet(broker, minds), desk.started("rollout", "start", str(plan), "--seq", "1"):
        _wait(lambda: (desk.state / "rollouts").exists() and any((desk.state / "rollouts").glob("[!.]*")))
        _wait(lambda: _run(desk, capsys, "rollout", "status")[1]["waits_for_approval"])
        assert _touched(minds) == {"device-0000"}
        assert _run(desk, capsys, "rollout", "approve")[0] == 0
        _wait(lambda: len(_touched(minds)) > 1)
        (desk.folder / "repository").rename(desk.folder / "elsewhere")  # a halt does not fail for that
        status, found = _run(desk, capsys, "rollout", "halt")
    assert status == 1
    assert found["phase"] == "halted"
    assert [mind.active.version for mind in minds.values()] == _COUNT * [6]  # who had committed went back
    ((content,), *_) = (contents for seq, contents in minds["device-0000"].contents.items() if seq > 3)
    assert "timestamp.json" in read_message(content)[1]
    told = _run(desk, capsys, "release", "history")[1]["entries"]
    by_order = {one["what"].partition(":")[0]: one for one in told}
    first, back = by_order[f"person-{GOOD}-wave-0-1"], by_order[f"person-{GOOD}-rollback-5"]
    assert told[0] == first
    assert {(tuple(one["by"]), tuple(one["releases"])) for one in told} == {(("anna",), (f"person/{GOOD}",))}
    assert (first["outcome"], back["why"]) == ("1 committed", "an operator halted it")
    assert "rolled back" in back["outcome"]


def test_two_operators_start_a_rollout(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk(tmp_path / "two", broker.port, operators=("anna", "ben"), threshold=2)
    minds = scripted(_COUNT)
    draft = str(desk.folder / "draft.json")
    plan = str(desk.write_plan(GOOD, [_WAVES[0]]))
    with _fleet(broker, minds):
        one = ("rollout", "start", plan, "--seq", "1", "--key", "anna")
        status, refused = _run(desk, capsys, *one)
        assert (status, refused["error"]) == (1, "E_COMMAND")
        assert not _touched(minds)
        assert _run(desk, capsys, *one, "--sign-only", draft)[0] == 0
        assert _run(desk, capsys, "command", "sign", draft, "--key", "ben")[1]["signatures"] == 2
        assert _run(desk, capsys, "rollout", "start", draft)[0] == 0
    assert minds["device-0000"].active.version == GOOD


def test_single_commands_are_followed_to_their_end(
    broker: Broker, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    minds = scripted(3, mute=["device-0002"])
    release = f"releases/person/{GOOD}.json"
    with _fleet(broker, minds):
        first = ("command", "install", release, "--device", "device-0000")
        assert _run(desk, capsys, *first)[1]["error"] == "E_COMMAND"  # no number yet, and none told
        status, found = _run(desk, capsys, *first, "--seq", "7", "--wait")
        assert (status, found["seq"], found["silent"]) == (0, 7, [])
        assert found["devices"]["device-0000"]["phase"] == "committed"
        status, found = _run(desk, capsys, "command", "install", release, "--all", "--wait", "--timeout", "3")
        assert (status, found["seq"], found["silent"]) == (1, 8, ["device-0002"])
        status, found = _run(desk, capsys, "command", "rollback", "--device", "device-0001", "--wait")
        assert (status, minds["device-0001"].active.version) == (0, 6)
        draft = str(desk.folder / "pin.json")
        _run(desk, capsys, "command", "pin", "--device", "device-0000", "--sign-only", draft)
        assert 10 not in minds["device-0000"].contents
        assert _run(desk, capsys, "command", "send", draft, "--wait")[0] == 0
        assert 10 in minds["device-0000"].contents
    status, found = _run(desk, capsys, "devices", "list")
    assert [device["device"] for device in found["devices"]] == sorted(minds)
    capsys.readouterr()
    assert cli.main([word for word in desk.arguments("devices", "list") if word != "--json"]) == 0
    table = capsys.readouterr().out
    assert "person 7" in table
    assert "rolled back" in table
    assert _run(desk, capsys, "devices", "show", "device-0000")[1]["version"] == GOOD
    assert _run(desk, capsys, "devices", "show", "nobody")[1]["error"] == "E_COMMAND"


def test_devices_with_the_real_update_code_keep_a_good_release_and_block_a_bad_one(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = Repository(now=datetime.now(UTC))
    make_repository(repository, tmp_path / "desk" / "repository", GOOD, BAD)
    desk = Desk(tmp_path / "desk", broker.port, repository=repository)
    waves = [{"name": "canary", "devices": ["device-0000"]}, {"name": "all", "pct": 100}]
    with DeviceProcesses(broker.port, desk.folder, tmp_path / "devices", count=4, processes=1) as fleet:
        status, found = _run(desk, capsys, "rollout", "start", str(desk.write_plan(BAD, waves)), "--seq", "1")
        assert (status, found["phase"]) == (1, "halted")
        assert {name for name, device in fleet.account().items() if device["is_touched"]} == {"device-0000"}
        assert _run(desk, capsys, "rollout", "start", str(desk.write_plan(GOOD, waves)))[1]["phase"] == "done"
        account = fleet.account().values()
    assert [device["active"] for device in account] == 4 * [GOOD]
    assert [device["blocked"] for device in account] == [1, 0, 0, 0]
