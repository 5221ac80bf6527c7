"""What happens to a device in a week, as a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Do = Literal[
    "link down",
    "link up",
    "link jammed",
    "crowd",
    "power cut",
    "power cut in the trial",
    "ntp",
    "camera unplugged",
    "camera back",
    "disk full",
    "disk free",
    "clock steps",
    "clock is right",
    "summer",
    "summer ends",
    "update",
    "order",
]
Outcome = Literal["committed", "failed", "rolled_back", "refused"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something done at `hour` of a day. `value`: hours without power or that the clock steps, or a version.

    An update is waited for; an order is only sent.
    """

    hour: float
    do: Do
    value: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A release, what is wrong with it, and how an update to it is to end."""

    version: int
    fault: Literal["", "golden", "slow"] = ""
    outcome: Outcome = "committed"
    code: str = ""
    trial_s: float = 2.0  # real seconds

    @property
    def probation(self) -> dict[str, Any]:
        return {"duration_s": self.trial_s, "min_frames": 10, "max_p95_ratio": 2.5 if self.fault else 60.0}


RELEASES = {
    each.version: each
    for each in (
        Planned(version=2),
        Planned(version=3, fault="golden", outcome="failed", code="E_GOLDEN"),
        Planned(version=4),
        Planned(version=5, trial_s=5.0),
        Planned(version=6, fault="slow", outcome="rolled_back", code="E_TRIAL_LATENCY"),
        Planned(version=7),
        Planned(version=8),
    )
}

WEEK: tuple[tuple[Step, ...], ...] = (
    (
        Step(2, "link down"),
        Step(2.5, "link up"),
        Step(7, "update", 2),
        Step(12, "crowd"),
        Step(14, "power cut", 1.0),
        Step(16, "ntp"),
        Step(18, "camera unplugged"),
        Step(19, "camera back"),
    ),
    (
        Step(4, "link jammed"),
        Step(4.5, "link up"),
        Step(9, "update", 3),
        Step(15, "clock steps", 3.0),
        Step(16, "clock is right"),
        Step(21, "link down"),
        Step(21.5, "link up"),
    ),
    (
        Step(8, "update", 4),
        Step(12, "link down"),  # or the spool would write the same blocks again and again
        Step(13, "disk full"),
        Step(20, "disk free"),
        Step(22, "link up"),
    ),
    (
        Step(3, "clock steps", -2.0),
        Step(4, "clock is right"),
        Step(8, "summer"),
        Step(18, "summer ends"),
        Step(20, "order", 5),
        Step(20, "power cut in the trial", 0.5),
        Step(23, "ntp"),
    ),
    (
        Step(9, "update", 6),
        Step(13, "update", 6),
        Step(16, "link down"),
        Step(16.5, "link up"),
        Step(17, "link jammed"),
        Step(17.5, "link up"),
        Step(18, "link down"),
        Step(18.5, "link up"),
    ),
    (
        Step(1, "power cut", 2.0),
        Step(4, "order", 7),
        Step(6, "ntp"),
        Step(7, "link down"),
        Step(7.5, "link up"),
        Step(11, "link down"),
    ),
    (Step(7, "link up"), Step(11, "update", 8), Step(15, "camera unplugged"), Step(17, "camera back")),
)
