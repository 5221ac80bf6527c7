"""How the operator's tool puts devices, times and events into words, pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from edgeapp.updates.codes import Code
from edgeapp.updates.command import Audience
from edgeapp.updates.messages import Event
from edgeapp.words import counted

_SHOWN = 8


def names(devices: Collection[str]) -> str:
    """Some of them by name, the rest by number."""
    shown = sorted(devices)[:_SHOWN]
    rest = len(devices) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def addressees(audience: Audience) -> str:
    """Whom a command is for."""
    parts = ["all devices"] if audience.all else [f"group {group}" for group in audience.groups]
    parts += [f"{counted(len(audience.devices), 'device')} ({names(audience.devices)})"] if audience.devices else []
    share = f", of these {audience.cohort.pct:g} % (salt {audience.cohort.salt})" if audience.cohort else ""
    return ", ".join(parts) + share


def shown_time(unix_s: float) -> str:
    """A moment in UTC, to the minute."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def ago(seconds: float) -> str:
    """How long ago, roughly."""
    for unit_s, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def in_words(event: Event) -> str:
    """What an event tells: its phase, and why where it says so."""
    phase = event.phase.replace("_", " ")
    if not event.code:
        return phase
    meaning = Code[event.code].meaning if event.code in Code.__members__ else "a code this version does not know"
    return f"{phase}: {event.code}, {meaning}" + (f" ({event.text})" if event.text else "")
