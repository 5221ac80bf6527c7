"""Was everything of a week accounted for? The promises, held against what was lived, and the table that shows it."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeapp.telemetry.spool import SPOOL_NAME
from edgeapp.updates.messages import OUTCOMES
from edgeapp.updates.state import State, parse
from tests.fakes.week import accounts
from tests.fakes.week.accounts import DAY_S, Message
from tests.fakes.week.life import EPSILON_PER_DAY, STATE_AT_THE_END, TRUTH_NAME, Lived
from tests.fakes.week.plan import RELEASES
from tests.fakes.week.weather import DAWN_H, DUSK_H
from tests.fakes.written import files, findings

MAX_GROWTH_MB = 12.0  # what the C library gives back after a model was freed swings by that much
MAX_STATE_BYTES = 8 << 20
_LARGE = 3000  # true counts so large do not stand anywhere by chance
_MODELS = ("updates/blobs", "updates/releases")  # given by the operator; what they hold is known by its hash
_STATE_FILES = re.compile(
    r"lock|drift\.json|spool\.db(-wal|-shm)?|updates/state\.[ab]|updates/(blobs|releases)/.*"
    r"|tuf/(operators|root\.json|root_history/\d+\.root\.json|(snapshot|targets|timestamp)\.json)"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One day, for a person."""

    day: str
    happened: list[str]
    did: list[str]
    arrived: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`promises`: each with what speaks against it, "" where it was kept. `result` is for programs."""

    promises: dict[str, str]
    rows: list[Row]
    result: dict[str, Any]


def judge(lived: Lived, folder: Path) -> Verdict:
    """`folder` is that of the `Life`, after its end."""
    state_dir = folder / STATE_AT_THE_END
    received = accounts.read((one.topic, one.payload) for one in lived.messages)
    card, waiting = read_card(state_dir / SPOOL_NAME)
    kept = accounts.without_doubles([*received, *waiting])
    reports = accounts.account_reports(received, card)
    windows = accounts.account_windows(
        kept,
        lived.disturbances,
        begin_s=lived.begin_s,
        end_s=lived.end_s,
        absent=max(0, reports.expected - reports.arrived - card.waiting),
    )
    budget = accounts.account_budget(kept, EPSILON_PER_DAY)
    growth_mb = accounts.memory_growth_mb(kept, lived.begin_s + min(DAY_S, (lived.end_s - lived.begin_s) // 2))
    state = read_state(state_dir)
    updates = _updates(lived, kept, state)
    leak = _leaks(lived, folder, kept)
    left = _left_over(lived, folder)
    promises = {
        "every report arrived or was told as lost": _against(reports.missing, "missing")
        or _against(reports.conflicts, "numbers with two contents"),
        "every window was told, or a rule says why not": _against(windows.missing, f"untold: {windows.untold[:5]}"),
        "no window was told twice, and no day cost more than its budget": ""
        if budget.is_kept
        else f"ε {budget.worst_epsilon:g} of {budget.limit:g}, told twice: {budget.double_releases[:5]}",
        "every update ended as it should, and the right model ran": "; ".join(updates["wrong"]),
        f"memory grew by at most {MAX_GROWTH_MB:g} MiB": _against(growth_mb > MAX_GROWTH_MB, f"grew by {growth_mb}"),
        "no thread, descriptor, process or file was left over": "; ".join(left),
        "no true count, picture or box was written or sent": "; ".join(leak[:5]),
        "day, night and heat were noticed": "; ".join(_unnoticed(lived, kept)),
        "the device did at each step what it promises": "; ".join(lived.broken),
    }
    result = {
        "days": (lived.end_s - lived.begin_s) // DAY_S,
        "reports": {
            "expected": reports.expected,
            "arrived": reports.arrived,
            "duplicates": reports.duplicates,
            "lost_told": reports.lost_told,
            "waiting": card.waiting,
            "missing": reports.missing,
        },
        "windows": {"told": windows.told, "excused": windows.excused, "untold": len(windows.untold)},
        "updates": updates,
        "power_cuts": lived.power_cuts,
        "budget": {
            "worst_epsilon": round(budget.worst_epsilon, 6),
            "limit": budget.limit,
            "double_releases": len(budget.double_releases),
        },
        "memory_growth_mb": growth_mb,
        "did_not_run": lived.did_not_run,
        "ok": not any(promises.values()),
    }
    return Verdict(promises, _rows(lived, kept), result)


def _against(is_wrong: float, text: str) -> str:
    return f"{is_wrong:g} {text}" if is_wrong else ""


def read_card(path: Path) -> tuple[accounts.Card, list[Message]]:
    """What the spool says of itself, and what waits in it."""
    with closing(sqlite3.connect(path)) as spool:
        (last_seq,) = spool.execute("SELECT seq FROM sqlite_sequence WHERE name = 'report'").fetchone()
        (lost,) = spool.execute("SELECT value FROM counter WHERE name = 'lost'").fetchone()
        waiting = accounts.read(spool.execute("SELECT kind, payload FROM report").fetchall())
    return accounts.Card(last_seq, lost, len(waiting)), waiting


def read_state(state_dir: Path) -> State:
    """What the device remembers of its updates."""
    slots = [state_dir / "updates" / name for name in ("state.a", "state.b")]
    found = [parse(path.read_bytes(), str(path)) for path in slots if path.exists()]
    return max(found, key=lambda state: state.generation)


def _updates(lived: Lived, kept: Iterable[Message], state: State) -> dict[str, Any]:
    ends: dict[int, str] = {}
    for message in kept:
        event = message.fields
        if message.kind == "event" and event["phase"] in OUTCOMES and event["release"] is not None:
            version = event["release"]["version"]
            if event["code"] != "E_BLOCKED":
                ends[version] = f"{event['phase']} {event['code'] or ''}".strip()
    ordered = lived.ordered
    expected = {version: f"{RELEASES[version].outcome} {RELEASES[version].code}".strip() for version in ordered}
    wrong = [
        f"{version}: expected {end}, found {ends.get(version)}"
        for version, end in expected.items()
        if ends.get(version) != end
    ]
    committed = [version for version in ordered if RELEASES[version].outcome == "committed"]
    runs = accounts.account_models(kept)
    good = [version for version in runs.order if RELEASES.get(version) is None or not RELEASES[version].fault]
    steps = [one for index, one in enumerate(good) if index == 0 or good[index - 1] != one]
    if steps != [1, *committed]:
        wrong.append(f"models in the reports: expected {[1, *committed]}, found {steps}")
    if any(RELEASES[version].fault == "golden" for version in runs.order if version in RELEASES):
        wrong.append("a release ran that had failed its self-test")
    active = state.active.version if state.active is not None else 1
    if active != (committed[-1] if committed else 1):
        wrong.append(f"active at the end: {active}")
    blocked = sum(RELEASES[version].fault == "slow" for version in ordered)
    if len(state.blocked) != blocked:
        wrong.append(f"blocked: expected {blocked}, found {len(state.blocked)}")
    return {
        "ordered": len(ordered),
        "committed": sum(end.startswith("committed") for end in ends.values()),
        "failed": sum(end.startswith("failed") for end in ends.values()),
        "rolled_back": sum(end.startswith("rolled_back") for end in ends.values()),
        "blocked": len(state.blocked),
        "active": active,
        "ran": [[version, _shown(first), _shown(last)] for version, first, last in runs.spans],
        "history": [[ending.version, str(ending.outcome), ending.code] for ending in state.history],
        "wrong": wrong,
    }


def _leaks(lived: Lived, folder: Path, kept: Iterable[Message]) -> list[str]:
    """True counts, pictures, boxes, in what the device wrote and sent."""
    told = {
        (each.fields["level"], each.fields["win"]["index"]): each.fields["counts"]["entered"]["person"]
        for each in kept
        if each.kind == "counts" and "entered" in each.fields["counts"]
    }
    secrets = set()
    for line in (folder / TRUTH_NAME).read_text().splitlines():
        level, index, count = line.split()
        if int(count) > _LARGE and told.get((level, int(index))) != int(count):  # noise may be 0
            secrets.add(int(count))
    written = [*files(folder / STATE_AT_THE_END, but=_MODELS), *files(folder / "device" / "run")]
    written.append(("daemon.log", (folder / "device" / "daemon.log").read_bytes()))
    written += [(one.topic, one.payload) for one in lived.messages if "/cmd/" not in one.topic]
    found = findings(written, counts=secrets, scores=[])
    return found if secrets else [*found, "no crowd was counted, so nothing could be found"]


def _left_over(lived: Lived, folder: Path) -> list[str]:
    first, last = lived.footprints[0], lived.footprints[-1]
    left = [f"{name}: {first[name]}, then {last[name]}" for name in first if last[name] > first[name]]
    state = folder / STATE_AT_THE_END
    names = {str(path.relative_to(state)): path.stat().st_size for path in state.rglob("*") if path.is_file()}
    left += [f"{name} in the state folder" for name in names if not _STATE_FILES.fullmatch(name)]
    left += [f"{path} in the temporary folder" for path in (folder / "device" / "tmp").rglob("*") if path.is_file()]
    releases = len(list((state / "updates" / "releases").iterdir()))
    left += [f"{releases} releases on the card"] if releases > 3 else []
    size = sum(names.values())
    return left + ([f"{size} bytes in the state folder"] if size > MAX_STATE_BYTES else [])


def _unnoticed(lived: Lived, kept: Iterable[Message]) -> list[str]:
    telemetry = [each.fields for each in kept if each.kind == "telemetry" and each.fields["sys"]["camera"]]
    # It takes seconds of darkness to call it that, and those are hours here: of each day one report has to say so.
    pictures: dict[int, set[str]] = {day: set() for day in range(lived.begin_s // DAY_S, lived.end_s // DAY_S)}
    for one in telemetry:
        day, hour = one["win"]["start"] // DAY_S, one["win"]["start"] % DAY_S / 3600
        is_bright = DAWN_H <= hour < DUSK_H
        if day in pictures and one["sys"]["camera"]["picture"] == ("ok" if is_bright else "black"):
            pictures[day].add("day" if is_bright else "night")
    missed = [f"{_shown(day * DAY_S)}: noticed {sorted(seen)}" for day, seen in pictures.items() if len(seen) < 2]
    summers = [at_s // DAY_S for at_s, note in lived.notes if note == "a summer noon"]
    for day in summers:
        heat = [one["sys"]["heat"] for one in telemetry if one["win"]["start"] // DAY_S == day]
        if not any(one["limited_by"] == "heat" for one in heat):
            missed.append("the heat of a summer noon cut no rate")
    if summers and telemetry[-1]["sys"]["heat"]["limited_by"] == "heat":
        missed.append("the rate was still cut by heat at the end")
    return missed


# -- the table


def _rows(lived: Lived, kept: list[Message]) -> list[Row]:
    rows = []
    for begin_s in range(lived.begin_s, lived.end_s, DAY_S):
        happened = [f"{_hour(at_s)} {note}" for at_s, note in lived.notes if begin_s <= at_s < begin_s + DAY_S]
        today = [each for each in kept if begin_s <= _told_s(each) < begin_s + DAY_S]
        kinds = Counter(each.fields.get("level", each.kind) for each in today)
        names = {"telemetry": "telemetry", "quarter": "quarters", "hour": "hours", "day": "day", "event": "events"}
        arrived = ", ".join(f"{kinds[kind]} {name}" for kind, name in names.items())
        rows.append(Row(f"{datetime.fromtimestamp(begin_s, UTC):%a}", happened, _deeds(today), arrived))
    return rows


def _told_s(message: Message) -> float:
    """When it speaks of: the beginning of its window, or the time of an event."""
    return float(message.fields["win"]["start"] if "win" in message.fields else message.fields["at"])


def _deeds(today: list[Message]) -> list[str]:
    """What the device did, as it told of it."""
    deeds = []
    for event in (each.fields for each in today if each.kind == "event" and each.fields["phase"] in OUTCOMES):
        about = event["release"]["version"] if event["release"] else (event["command"] or {}).get("id", "start")
        deeds.append(f"{_hour(event['at'])} {about} {event['phase']} {event['code'] or ''}".strip())
    telemetry = [each.fields for each in today if each.kind == "telemetry"]
    rates = [one["sys"]["heat"]["rate_fps"] for one in telemetry if one["sys"]["heat"]["limited_by"] == "heat"]
    hottest = max((one["sys"]["temp_c"] or 0.0 for one in telemetry), default=0.0)
    deeds += [f"down to {min(rates):.1f} fps, at most {hottest:.0f} °C"] if rates else []
    boots = len({one["boot"] for one in telemetry}) - 1
    deeds += [f"started again {boots} time{'s' * (boots > 1)}"] if boots > 0 else []
    lost = [each.fields["lost"] for each in today]
    deeds += [f"told of {max(lost) - min(lost)} reports dropped"] if lost and max(lost) > min(lost) else []
    return [*deeds, f"ran {' → '.join(map(str, accounts.account_models(today).order))}"]


def _hour(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%H:%M}"


def _shown(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%MZ}"
