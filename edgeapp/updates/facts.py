"""What rules about updates are given of the device: plain values, pure.

Owns their meaning. Reading the clock and the board, and keeping the floors durable, is left to others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeapp.updates.codes import Code, Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """Who this device is and what it has.

    `board` is the name as the board tells it, `arch` that of `uname -m`, `delegate` the one that the configured model
    runs with, `classes` what the device is told to count (none: whatever the model names).
    """

    device_id: str
    groups: frozenset[str]
    app_version: str
    runtime: str
    runtime_version: str
    delegate: str
    arch: str
    board: str
    ram_mb: float
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class MetadataFloor:
    """The versions of the metadata seen last. A wiped or restored cache may not fall below them.

    `online_keys` is a digest of the keys that the root names for snapshot and timestamp: with other keys the versions
    of these two roles, and of the targets that they list, begin anew, which is how a repository recovers from a stolen
    online key (TUF specification, 5.3.11).
    """

    root: int = 0
    timestamp: int = 0
    snapshot: int = 0
    targets: int = 0
    online_keys: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Floors:
    """What signed content has raised and nothing lowers.

    `seq_seen` and `command_sha256` are of the last accepted command. `blocked` are the sha256 of the manifests that
    failed here. Release versions are one sequence for all the models of a fleet. Before `time_floor_s`, in Unix
    seconds, the clock cannot be right.
    """

    seq_seen: int = 0
    command_sha256: str = ""
    time_floor_s: int = 0
    version_floor: int = 0
    security_floor: int = 0
    blocked: frozenset[str] = frozenset()
    metadata: MetadataFloor = field(default_factory=MetadataFloor)


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The wall clock in Unix seconds, and whether a time service keeps it."""

    now_s: float
    is_synchronised: bool


def check_clock(clock: ClockReading, floors: Floors) -> Refusal | None:
    """Whether times can be judged at all: at 1970 nothing has expired."""
    if not clock.is_synchronised:
        return Refusal(Code.E_CLOCK, "expected a synchronised clock, found one that no time service keeps")
    if clock.now_s < floors.time_floor_s:
        return Refusal(Code.E_CLOCK, f"expected {floors.time_floor_s} s or later, found {clock.now_s:.0f} s")
    return None
