from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeapp.updates.messages import CommandId, Event, ReleaseId, event_message
from edgeapp.workshop.broker_link import Message
from edgeapp.workshop.history import DeviceSummary, History

_BOOT = "0123456789abcdef"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path, "default") as opened:
        yield opened


def _message(kind: str, content: bytes | dict[str, Any], device: str = "kiosk-7") -> Message:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Message(f"edgeapp/v1/default/{device}/{kind}", payload)


def _event(seq: int, *, command: int = 5, phase: Any = "trial", device: str = "kiosk-7", lost: int = 0) -> Message:
    event = Event(
        device=device,
        boot=_BOOT,
        seq=seq,
        lost=lost,
        app="0.1.0",
        at=1000 + seq,
        command=CommandId(id="c", seq=command),
        phase=phase,
        release=None,
        active=ReleaseId(name="person", version=7, sha256="a" * 64),
    )
    return _message("event", event_message(event), device)


def _telemetry(seq: int) -> Message:
    model = {"name": "person", "version": 6}
    fields = {"v": 1, "device": "kiosk-7", "boot": _BOOT, "seq": seq, "lost": 2, "model": model, "new": "field"}
    return _message("telemetry", fields)


def _status(state: str, device: str = "kiosk-7") -> Message:
    return _message("status", {"v": 1, "device": device, "boot": _BOOT, "state": state, "app": "0.1.0"}, device)


def _only(history: History) -> DeviceSummary:
    (device,) = history.devices()
    return device


def test_a_report_that_comes_twice_is_kept_once(history: History) -> None:
    history.keep([_event(1), _event(1)])
    history.keep([_event(1)])
    assert len(history.events_after(0, [5])) == 1


def test_reading_goes_on_where_it_ended(history: History, tmp_path: Path) -> None:
    history.keep([_event(1), _event(2, command=9)])
    ((row, _),) = history.events_after(0, [5])
    with History(tmp_path, "default") as other:  # another process, such as `devices watch`
        other.keep([_event(3, phase="committed")])
    assert [event.phase for _, event in history.events_after(row, [5])] == ["committed"]
    assert [event.seq for _, event in history.events_after(0)] == [1, 2, 3]


def test_reports_that_never_came_are_counted_and_late_ones_are_not(history: History) -> None:
    history.keep([_event(1), _telemetry(2), _event(6)])
    assert _only(history).missing == 3
    history.keep([_telemetry(4)])
    assert _only(history).missing == 2
    assert _only(history).lost == 2


def test_a_device_is_known_by_its_status_and_gone_with_it(history: History) -> None:
    assert history.keep([_status("online"), _event(1)]) == {"kiosk-7"}
    device = _only(history)
    assert (device.state, device.app, device.model, device.version) == ("online", "0.1.0", "person", 7)
    assert device.last is not None
    history.keep([_status("offline")])
    assert _only(history).state == "offline"
    assert history.keep([_message("status", b"")]) == set()
    assert history.devices() == []


@pytest.mark.parametrize(
    "message",
    [
        Message("edgeapp/v1/default/other/event", _event(1).payload),  # speaks for another device
        _message("event", b"\xff"),
        _message("telemetry", b"[" * 60_000),
        _message("telemetry", {"device": "kiosk-7", "boot": _BOOT, "seq": -1, "lost": 0}),
        _message("telemetry", b" " * 70_000),
        _message("status", {"device": "kiosk-7", "state": "\x1b[2J", "app": "1"}),
        _message("cmd-result", {"v": 1}),
        Message("edgeapp/v1/default/\x1b[2J/status", b'{"device":"\\u001b[2J","state":"online","app":"1"}'),
    ],
)
def test_what_cannot_be_read_is_counted_and_harms_nothing(history: History, message: Message) -> None:
    history.keep([_status("online"), message, _event(1)])
    assert [device.device for device in history.devices()] == ["kiosk-7"]
    assert len(history.events_after(0)) == 1


def test_the_highest_command_that_anybody_spoke_of_is_known(history: History) -> None:
    assert history.highest_command() == 0
    history.keep([_event(1, command=41), _event(2, command=7)])
    assert history.highest_command() == 41


def test_requests_are_for_one_rollout_and_read_once(history: History) -> None:
    history.request("a-1", "pause")
    history.request("b-2", "halt")
    ((row, kind),) = history.requests_after(0, "a-1")
    assert kind == "pause"
    assert history.requests_after(row, "a-1") == []
