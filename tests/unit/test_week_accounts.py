"""The accounting of scripts/week-drill: what a broken device would leave is found, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fakes.week import accounts
from tests.fakes.week.accounts import Card, Disturbance, Message

BEGIN_S = 1_799_971_200  # a midnight
END_S = BEGIN_S + accounts.DAY_S
EPSILONS = {"quarter": 0.25, "hour": 0.35, "day": 0.4}


def _message(kind: str, seq: int, boot: str = "b1", **fields: Any) -> Message:
    fields = {"device": "kiosk-7", "boot": boot, "seq": seq, "lost": 0, **fields}
    return Message(kind, json.dumps(fields).encode(), fields)


def _counts(seq: int, level: str, start: int, entered: int = 3, **fields: Any) -> Message:
    return _message(
        "counts",
        seq,
        level=level,
        win={"start": start, "index": start // accounts.LEVELS[level]},
        counts={"entered": {"person": entered}},
        dp={"epsilon": EPSILONS[level], "epsilon_per_day": 1.0},
        **fields,
    )


def _telemetry(seq: int, start: int, version: int = 1, rss_mb: float = 100.0, boot: str = "b1") -> Message:
    return _message("telemetry", seq, boot, win={"start": start}, model={"version": version}, sys={"rss_mb": rss_mb})


@pytest.fixture
def day() -> list[Message]:
    """A day of which everything was told."""
    messages: list[Message] = []
    for level, length_s in accounts.LEVELS.items():
        for start in range(BEGIN_S, END_S, length_s):
            seq = len(messages) + 1
            messages.append(_telemetry(seq, start) if level == "telemetry" else _counts(seq, level, start))
    return messages


def _windows(messages: list[Message], *disturbances: Disturbance, absent: int = 0) -> accounts.Windows:
    return accounts.account_windows(messages, disturbances, begin_s=BEGIN_S, end_s=END_S, absent=absent)


def test_a_whole_day_is_accounted_for(day: list[Message]) -> None:
    reports = accounts.account_reports([*day, day[5]], Card(len(day), 0, 0))
    assert (reports.arrived, reports.duplicates, reports.missing, reports.conflicts) == (len(day), 1, 0, 0)
    assert (_windows(day).untold, _windows(day).told) == ([], 96 + 96 + 24 + 1)
    budget = accounts.account_budget(accounts.without_doubles([*day, day[-1]]), 1.0)
    assert budget.is_kept
    assert budget.worst_epsilon == pytest.approx(1.0)


def test_a_missing_report_is_found_unless_the_device_counted_it(day: list[Message]) -> None:
    arrived = [message for message in day if message.fields["seq"] != 50]
    assert accounts.account_reports(arrived, Card(len(day), 0, 0)).missing == 1
    assert accounts.account_reports(arrived, Card(len(day), 1, 0)).missing == 0
    assert accounts.account_reports(arrived, Card(len(day), 0, 1)).missing == 0
    assert accounts.account_reports(day, Card(len(day) + 1, 0, 0)).missing == 1


def test_a_window_that_was_never_made_a_report_of_is_found(day: list[Message]) -> None:
    """All numbers arrive, and yet one window is in none of them."""
    last = day.pop()
    start = last.fields["win"]["start"]
    assert (_windows(day).untold, _windows(day).missing) == ([("day", start // accounts.DAY_S)], 1)
    assert _windows(day, absent=1).missing == 0
    assert _windows(day, Disturbance("power cut", END_S - 60, END_S + 60)).untold == []
    assert _windows(day, Disturbance("power cut", BEGIN_S + 60, END_S - 60)).missing == 1, "its end was undisturbed"


def test_a_window_told_twice_is_found_even_with_the_same_numbers(day: list[Message]) -> None:
    again = _counts(900, "hour", BEGIN_S + 3600)
    budget = accounts.account_budget([*day, again], 1.0)
    assert budget.double_releases == [("hour", (BEGIN_S + 3600) // 3600)]
    assert budget.worst_epsilon == pytest.approx(1.35)
    assert not budget.is_kept


def test_an_overspent_budget_is_found(day: list[Message]) -> None:
    day[-1] = _counts(len(day), "day", BEGIN_S)
    day[-1].fields["dp"]["epsilon"] = 0.41
    budget = accounts.account_budget(day, 1.0)
    assert (budget.double_releases, budget.is_kept) == ([], False)


def test_a_number_with_two_contents_is_a_conflict(day: list[Message]) -> None:
    other = _counts(day[100].fields["seq"], "quarter", BEGIN_S, entered=77)
    assert accounts.account_reports([*day, other], Card(len(day), 0, 0)).conflicts == 1
    elsewhere = _telemetry(day[3].fields["seq"], BEGIN_S, boot="b2")
    assert accounts.account_reports([*day, elsewhere], Card(len(day), 0, 0)).conflicts == 1, "a number given twice"


def test_which_model_ran_when_and_what_memory_it_took() -> None:
    starts = range(BEGIN_S, END_S, 900)
    reports = [
        _telemetry(seq, start, version=1 if seq < 40 else 2, rss_mb=100 + seq / 10, boot="b1" if seq < 60 else "b2")
        for seq, start in enumerate(starts)
    ]
    runs = accounts.account_models(reversed(reports))
    assert runs.order == [1, 2]
    assert runs.spans[1][1] == starts[40]
    assert accounts.memory_growth_mb(reports, BEGIN_S) == pytest.approx(8.4)
    flat = [_telemetry(seq, start) for seq, start in enumerate(starts)]
    assert accounts.memory_growth_mb(flat, BEGIN_S) == 0.0
