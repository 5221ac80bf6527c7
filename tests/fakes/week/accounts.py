"""Holds what arrived of a week against what should have; pure.

Owns what counts as missing, told twice and overspent. It knows no part of the device: only the messages as any reader
gets them, what the device says of itself at the end, and when its clock or power was disturbed.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DAY_S = 86_400
LEVELS = {"telemetry": 900, "quarter": 900, "hour": 3600, "day": DAY_S}
_SETTLED, _FEW = 12, 12  # reports of a daemon's life until its memory has settled; reports that make a median
Window = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Message:
    """One report as it came."""

    kind: str
    payload: bytes
    fields: Mapping[str, Any]

    @property
    def identity(self) -> tuple[str, str, int]:
        return self.fields["device"], self.fields["boot"], self.fields["seq"]


@dataclass(frozen=True, slots=True)
class Disturbance:
    """From when to when (true time, Unix seconds) no window need be told at its end, and why."""

    reason: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Card:
    """What the spool says at the end: the last number given, how many it dropped, how many still wait."""

    last_seq: int
    lost: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Reports:
    """`missing` neither arrived nor were dropped by the device's own count; `conflicts` came with two contents."""

    expected: int
    arrived: int
    duplicates: int
    lost_told: int
    missing: int
    conflicts: int


@dataclass(frozen=True, slots=True)
class Windows:
    """`untold` ended undisturbed and were not told; `missing` of them are not among the reports that were dropped."""

    told: int
    excused: int
    untold: list[Window]
    missing: int


@dataclass(frozen=True, slots=True)
class Budget:
    """`worst_epsilon`: what a track costs that is in the most often told windows of one day. `double_releases`: windows
    that were told with two different contents."""

    worst_epsilon: float
    limit: float
    double_releases: list[Window]

    @property
    def is_kept(self) -> bool:
        return not self.double_releases and self.worst_epsilon <= self.limit + 1e-9


@dataclass(slots=True)
class Runs:
    """Which model ran: version and the first and last window that tells of it, in order."""

    spans: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def order(self) -> list[int]:
        return [version for version, _, _ in self.spans]


def read(topics: Iterable[tuple[str, bytes]]) -> list[Message]:
    """The numbered messages among what came, in the order of arrival."""
    found = []
    for topic, payload in topics:
        kind = topic.rpartition("/")[2]
        if kind in ("telemetry", "counts", "event", "cmd-result"):
            found.append(Message(kind, payload, json.loads(payload)))
    return found


def without_doubles(messages: Iterable[Message]) -> list[Message]:
    """As docs/messages.md asks of every reader."""
    return list({message.identity: message for message in reversed(list(messages))}.values())[::-1]


def account_reports(messages: Sequence[Message], card: Card) -> Reports:
    """Every number up to the last one arrived, waits, or was dropped and counted."""
    contents: dict[tuple[str, str, int], set[bytes]] = defaultdict(set)
    for message in messages:
        contents[message.identity].add(message.payload)
    arrived = len({seq for _, _, seq in contents})
    conflicts = sum(len(each) > 1 for each in contents.values()) + len(contents) - arrived
    absent = card.last_seq - arrived - card.waiting
    return Reports(
        expected=card.last_seq,
        arrived=arrived,
        duplicates=len(messages) - len(contents),
        lost_told=card.lost,
        missing=max(0, absent - card.lost),
        conflicts=conflicts,
    )


def account_windows(
    messages: Sequence[Message], disturbances: Sequence[Disturbance], *, begin_s: int, end_s: int, absent: int
) -> Windows:
    """Every window between the two times was told, or its end was disturbed, or it is one of `absent` reports."""
    told = {_window(message) for message in messages if message.kind in ("telemetry", "counts")}
    excused, untold, count = 0, [], 0
    for level, length_s in LEVELS.items():
        for index in range(-(-begin_s // length_s), end_s // length_s):
            count += 1
            if (level, index) in told:
                continue
            end = (index + 1) * length_s
            if any(each.from_s <= end <= each.to_s for each in disturbances):
                excused += 1
            else:
                untold.append((level, index))
    return Windows(count - excused - len(untold), excused, untold, max(0, len(untold) - absent))


def _window(message: Message) -> Window:
    level = message.fields.get("level", message.kind)
    return level, message.fields["win"]["start"] // LEVELS[level]


def account_budget(messages: Iterable[Message], limit: float) -> Budget:
    """What may be concluded about one track from all that was told, day by day.

    A track counts to one window of each level. So the worst that a day may cost is, over the levels, the ε of a release
    times how often the window of that day was told that was told most often.
    """
    contents: dict[Window, set[str]] = defaultdict(set)
    epsilons: dict[Window, float] = {}
    for message in messages:
        if message.kind == "counts":
            window = _window(message)
            contents[window].add(json.dumps([message.fields["counts"], message.identity]))
            epsilons[window] = max(epsilons.get(window, 0.0), message.fields["dp"]["epsilon"])
    worst: dict[int, dict[str, float]] = defaultdict(dict)
    for (level, index), told in contents.items():
        day = index * LEVELS[level] // DAY_S
        worst[day][level] = max(worst[day].get(level, 0.0), epsilons[level, index] * len(told))
    most = max((sum(levels.values()) for levels in worst.values()), default=0.0)
    return Budget(most, limit, sorted(window for window, told in contents.items() if len(told) > 1))


def account_models(messages: Iterable[Message]) -> Runs:
    """Which release ran when, as the reports tell it."""
    runs = Runs()
    telling = [message for message in messages if message.kind == "telemetry" and message.fields["model"]]
    for message in sorted(telling, key=lambda each: int(each.fields["seq"])):
        version, start = message.fields["model"]["version"], message.fields["win"]["start"]
        if runs.spans and runs.spans[-1][0] == version:
            runs.spans[-1] = (version, runs.spans[-1][1], start)
        else:
            runs.spans.append((version, start, start))
    return runs


def memory_growth_mb(messages: Iterable[Message], from_s: float) -> float:
    """How much more memory the daemon had at an end than after it had settled, MiB: the worst of its lives, and from
    `from_s` to the last report."""
    lives: dict[str, list[float]] = defaultdict(list)
    whole: list[float] = []
    telling = [message for message in messages if message.kind == "telemetry" and message.fields["sys"]["rss_mb"]]
    for message in sorted(telling, key=lambda each: int(each.fields["seq"])):
        lives[message.fields["boot"]].append(message.fields["sys"]["rss_mb"])
        if message.fields["win"]["start"] >= from_s:
            whole.append(message.fields["sys"]["rss_mb"])
    spans = [life[_SETTLED:] for life in lives.values()] + [whole]
    growths = [statistics.median(span[-_FEW:]) - statistics.median(span[:_FEW]) for span in spans if len(span) > _FEW]
    return round(max(growths, default=0.0), 2)
