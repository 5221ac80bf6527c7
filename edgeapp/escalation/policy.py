"""Which tracks are worth a second opinion, and whether one may be asked for now; pure.

Owns the doubts, the budgets and the bars. Leaves to `watch.py` the life of each track, to its caller every clock.

Guarantees, on which the noise of the family `escalated` rests (docs/decisions/0023):
- whether a track is doubted depends on that track alone, and it is judged once;
- budgets count crops in windows of UTC, hours within days within months, and each crop is charged as the largest that
  could be: so one track more or less in the world changes whether it is asked about, and of at most one other track;
- a window's budget is never exceeded, however often the daemon starts and however the clock steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from edgeapp.config import EscalationConfig, QuietHours

_HOUR_S, _DAY_S = 3600, 86_400
_MB, _KB = 1_000_000, 1000
OVERHEAD_BYTES = 8 * _KB  # of one question besides its crop: TLS handshake, headers, the answer
_DEFAULT_BELOW = 0.6
_AHEAD_S = 300  # longer than any question or fetch


class Doubt(StrEnum):
    """Why a track is uncertain."""

    LOW_SCORE = "low_score"  # its mean score is below its class's threshold
    CLOSE_CLASSES = "close_classes"  # another class was nearly as likely, or more
    UNSTEADY = "unsteady"  # its score swung over its life


@dataclass(frozen=True, slots=True)
class Life:
    """A track as far as it was seen: scores over its frames; `margin` is the least lead over another class.

    `margin` is None where no other class was found in its place.
    """

    class_name: str
    mean_score: float
    least_score: float
    most_score: float
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a track is uncertain. `below` goes by class; a class that it does not name has `default_below`."""

    below: Mapping[str, float]
    default_below: float
    min_margin: float
    max_spread: float


def thresholds(settings: EscalationConfig, escalate_below: Mapping[str, float]) -> Thresholds:
    """Those of the running model, `escalate_below`, unless the device is configured otherwise."""
    if settings.below is not None:
        return Thresholds({}, settings.below, settings.min_margin, settings.max_spread)
    return Thresholds(escalate_below, _DEFAULT_BELOW, settings.min_margin, settings.max_spread)


def doubt(life: Life, limits: Thresholds) -> Doubt | None:
    """Why a track is uncertain, the gravest reason first; None where it is not."""
    if life.mean_score < limits.below.get(life.class_name, limits.default_below):
        return Doubt.LOW_SCORE
    if life.margin is not None and life.margin < limits.min_margin:
        return Doubt.CLOSE_CLASSES
    if life.most_score - life.least_score > limits.max_spread:
        return Doubt.UNSTEADY
    return None


class Bar(StrEnum):
    """Why nothing may be asked now."""

    CONSENT = "consent"
    HEAT = "heat"
    QUIET_HOURS = "quiet_hours"
    METERED = "metered"
    ENDPOINT = "endpoint"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """What asking depends on besides the budgets. Nothing of it follows from who passes the camera."""

    has_consent: bool
    is_hot: bool
    is_quiet: bool
    is_metered: bool
    is_endpoint_up: bool


def bar(now: Conditions) -> Bar | None:
    """The first condition that forbids to ask."""
    rows = (
        (not now.has_consent, Bar.CONSENT),
        (now.is_hot, Bar.HEAT),
        (now.is_quiet, Bar.QUIET_HOURS),
        (now.is_metered, Bar.METERED),
        (not now.is_endpoint_up, Bar.ENDPOINT),
    )
    return next((why for is_so, why in rows if is_so), None)


def is_quiet(hours: QuietHours | None, now_s: float) -> bool:
    """Whether `now_s` (Unix seconds) lies in the quiet hours; where they end when they begin, it is always quiet."""
    if hours is None:
        return False
    minute = int(now_s % _DAY_S) // 60
    start, end = _minute(hours.start), _minute(hours.end)
    return start <= minute < end if start < end else minute >= start or minute < end


def _minute(time_of_day: str) -> int:
    hour, _, minute = time_of_day.partition(":")
    return 60 * int(hour) + int(minute)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many crops at most in each hour, day and month of UTC."""

    hour: int
    day: int
    month: int


def charge_bytes(settings: EscalationConfig) -> int:
    """What one question costs of a budget of bytes: as much as the largest crop, whatever this one weighs."""
    return settings.crop.max_kb * _KB + OVERHEAD_BYTES


def limits(settings: EscalationConfig) -> Limits:
    """Budgets of crops and of bytes as one: numbers of crops."""
    each = charge_bytes(settings) / _MB
    return Limits(
        hour=min(settings.max_per_hour, int(settings.max_mb_per_hour / each)),
        day=min(settings.max_per_day, int(settings.max_mb_per_day / each)),
        month=int(settings.max_mb_per_month / each),
    )


@dataclass(frozen=True, slots=True)
class Windows:
    """Numbers of the hour, day and month of UTC."""

    hour: int
    day: int
    month: int


def windows_at(now_s: float) -> Windows:
    """The windows that `now_s` (Unix seconds) lies in."""
    moment = datetime.fromtimestamp(now_s, UTC)
    return Windows(int(now_s // _HOUR_S), int(now_s // _DAY_S), 12 * moment.year + moment.month)


@dataclass(frozen=True, slots=True)
class Spent:
    """What was asked in the open windows."""

    windows: Windows
    hour: int = 0
    day: int = 0
    month: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """What outlives the daemon: in which hours it could have asked. It says nothing of whether it did.

    `hours_today` and `hours_this_month` count the hours that were opened, the last of which is `hour`.
    """

    hour: int = 0
    day: int = 0
    month: int = 0
    hours_today: int = 0
    hours_this_month: int = 0


def opened(before: Opened, now_s: float) -> Opened:
    """With the hour of `now_s` among the opened ones; the same where that is not later than the last."""
    now = windows_at(now_s)
    if now.hour <= before.hour:
        return before
    return Opened(
        hour=now.hour,
        day=now.day,
        month=now.month,
        hours_today=1 + (before.hours_today if now.day == before.day else 0),
        hours_this_month=1 + (before.hours_this_month if now.month == before.month else 0),
    )


def opened_ahead(before: Opened, now_s: float) -> Opened:
    """Also with the next hour, if it begins soon: then it is open, whatever its opener waits for at that moment."""
    return opened(opened(before, now_s), now_s + _AHEAD_S)


def spent_at_start(before: Opened, most: Limits) -> Spent:
    """After a start every opened hour is taken for spent, so that starting anew gives nothing back."""
    return Spent(
        Windows(before.hour, before.day, before.month),
        hour=most.hour if before.hour else 0,
        day=min(most.day, before.hours_today * most.hour),
        month=min(most.month, before.hours_this_month * most.hour),
    )


def spend(spent: Spent, now_s: float, most: Limits) -> tuple[Spent, Bar | None]:
    """Take one crop from the budgets; or the budget that forbids it. A clock that goes back reopens no window."""
    spent = _rolled(spent, windows_at(now_s))
    rows = ((spent.month, most.month, Bar.MONTH), (spent.day, most.day, Bar.DAY), (spent.hour, most.hour, Bar.HOUR))
    for used, limit, why in rows:
        if used >= limit:
            return spent, why
    return Spent(spent.windows, spent.hour + 1, spent.day + 1, spent.month + 1), None


def _rolled(spent: Spent, now: Windows) -> Spent:
    last = spent.windows
    if now.hour <= last.hour:
        return spent
    return Spent(
        now,
        hour=0,
        day=spent.day if now.day == last.day else 0,
        month=spent.month if now.month == last.month else 0,
    )
