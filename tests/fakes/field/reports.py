"""What a device has said to its broker, as steps judge it: counts, updates, reports without a gap."""

from __future__ import annotations

from tests.fakes.subscriber import Received, Subscriber
from tests.fakes.updating_device import events

UPDATES = "edgeapp/v1/default/test-device/cmd/update"
_NUMBERED = ("/telemetry", "/counts", "/event", "/cmd-result")


def counts(subscriber: Subscriber) -> list[Received]:
    return [one for one in subscriber.messages if one.topic.endswith("/counts")]


def wait_committed(subscriber: Subscriber, version: int, timeout_s: float = 60.0) -> None:
    """Wait until the device says that it has committed this release of the model."""

    def is_there(_: object) -> bool:
        return any(one["phase"] == "committed" and one["active"]["version"] == version for one in events(subscriber))

    try:
        subscriber.wait(is_there, f"release {version} to be committed", timeout_s)
    except AssertionError as error:
        raise AssertionError(f"{error}; events: {events(subscriber)}") from None


def numbers(messages: list[Received], boot: str | None = None) -> set[int]:
    """The numbers of all reports, or of those of one run of the daemon."""
    fields = [one.fields for one in messages if one.topic.endswith(_NUMBERED)]
    return {one["seq"] for one in fields if boot in (None, one["boot"])}


def expect_no_gap(messages: list[Received]) -> int:
    """Fails where a report between the first and the last is missing; how many there are."""
    found = numbers(messages)
    missing = set(range(min(found), max(found) + 1)) - found
    assert not missing, f"reports {sorted(missing)} of {sorted(found)} are missing"
    return len(found)
